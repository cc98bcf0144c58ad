"""Maintenance: a task that shows that a worker answers."""

from __future__ import annotations

from workers.app import app


@app.task(name="upkeep.ping")  # type: ignore[untyped-decorator]
def ping() -> None:
    """Do nothing: that it ran is the answer."""
