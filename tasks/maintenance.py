"""Upkeep: a task that proves that a worker answers."""

from __future__ import annotations

from workers.app import app


@app.task(name="upkeep.ping")  # type: ignore[untyped-decorator]
def ping() -> None:
    """Do nothing: that the message was taken is the answer."""
