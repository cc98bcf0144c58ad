"""Sample processes, locks and leases during the storm, and write what changed into the history."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from tests.nemesis.cluster import Cluster
from tests.nemesis.processes import lock_takers

PERIOD = 0.2  # seconds
_HELD = """
SELECT id, attempt, owner, extract(epoch FROM lease_until)::float8 AS until, (progress->>'step')::int AS step FROM job
WHERE state = 'running' AND remaining IS NULL AND lease_until IS NOT NULL ORDER BY id
"""
_STATES = "SELECT state, count(*) AS jobs FROM job WHERE remaining IS NULL GROUP BY state"


class Sampler:
    """Two threads, so that a Postgres that is away does not stop the look at the processes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._last: dict[str, Any] = {}
        self.states: dict[str, int] = {}
        looks = (self._processes, self._leases)
        self._threads = [threading.Thread(target=self._repeat, args=(look,), name=look.__name__, daemon=True) for look in looks]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=15)

    def _repeat(self, look: Callable[[], None]) -> None:
        while not self._stop.wait(PERIOD):
            look()

    def _processes(self) -> None:
        # The locks first: whoever holds one now and lived before and after the census held it while the others lived.
        locks = lock_takers(self._cluster.home.path / "locks")
        found = self._cluster.census.take()
        mains = sorted(seat.label for seat in self._cluster.keeper.seats if seat.alive)
        self._tell("processes", alive=[list(astuple(one)) for one in found], locks=locks, mains=mains)

    def _leases(self) -> None:
        try:
            held = self._cluster.sql(_HELD)
            self.states = {row.state: row.jobs for row in self._cluster.sql(_STATES)}
        except SQLAlchemyError:
            self._tell("leases", held=None)
            return
        self._tell("leases", held=[[str(row.id), row.attempt, row.owner, row.until, row.step] for row in held])

    def _tell(self, event: str, **seen: Any) -> None:
        # Every look of the processes counts, since how long they live is judged; of the leases only what is new.
        if event == "processes" or self._last.get(event) != seen:
            self._last[event] = seen
            self._cluster.history.write(event, **seen)
