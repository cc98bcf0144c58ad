"""The verbs of the stack: up, down, status, worker, migrate."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(rich_help_panel="Stack")(migrate)


def migrate() -> None:
    """Bring the tables of the database up to date."""
