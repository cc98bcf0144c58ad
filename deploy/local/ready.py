"""Find out which workers of a stack take jobs already."""

from __future__ import annotations

from typing import Any

from deploy.health import known_workers
from workers.settings import Settings


def ready_workers(settings: Settings, stack: dict[str, Any]) -> set[str]:
    """Return the stack's own workers that take jobs, by the names that `stack.json` gives them."""
    own = {kept["pid"]: kept["name"] for kept in stack.get("processes", ()) if kept["name"].startswith("worker")}
    live = known_workers(settings) if own else []
    return {own[worker["pid"]] for worker in live if worker["pid"] in own and not worker["draining"]}
