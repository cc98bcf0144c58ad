"""Run one storm: start all, inject faults as planned, heal them, wait until it is quiet, and check."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from tests.nemesis import load
from tests.nemesis.checker import Violation, check
from tests.nemesis.checker_of_checkpoints import resumes
from tests.nemesis.cluster import Cluster
from tests.nemesis.faults import INJECT, KINDS, Struck
from tests.nemesis.faults_of_servers import answers
from tests.nemesis.history import History, read
from tests.nemesis.record import Record, collect
from tests.nemesis.sampler import Sampler
from tests.nemesis.schedule import Strike, plan
from tests.support.tiny_model import build_tiny_model
from tests.support.worker_process import wait_for
from workers.errors import TweetmillError

PATIENCE = {"ranks": 20.0, "disk": 20.0}  # seconds that a fault waits for a victim: a training takes its time to begin
USUAL_PATIENCE = 6.0
HEALED_WITHIN = 30.0
QUIET_WITHIN = 240.0  # seconds from the last healing to the end of the last job
_OPEN = "SELECT count(*) AS jobs FROM job WHERE state IN ('queued', 'running')"


@dataclass(frozen=True)
class Outcome:
    """What the storm was, and what it broke."""

    summary: dict[str, Any]
    violations: list[Violation]


class Storm:
    """A seeded storm over a cluster of its own."""

    def __init__(self, cluster: Cluster, seed: int, seconds: float, kinds: Sequence[str]) -> None:
        self._cluster = cluster
        self._seed = seed
        self._seconds = seconds
        self.strikes = plan(seed, seconds, {name: KINDS[name] for name in kinds})
        self._sampler = Sampler(cluster)
        self._begun = time.monotonic()
        self._made: Counter[str] = Counter()
        self._nobody: Counter[str] = Counter()

    def run(self) -> Outcome:
        """All of it."""
        if not self._cluster.model.exists():
            build_tiny_model(self._cluster.model)
        self._cluster.start()
        load.prepare(self._cluster.model)
        self._sampler.start()
        self._cluster.keeper.produce()
        wait_for(lambda: any(event["event"] == "committed" for event in read(self._cluster.history.path)), 30)
        self._begun = time.monotonic()
        self._cluster.history.write("begin", seed=self._seed, seconds=self._seconds)
        self._strike_all()
        self._cluster.keeper.stop_producing()
        self._cluster.history.write("all is healed")
        quiet_after = self._wait_until_quiet()
        codes = self._cluster.keeper.dismiss()
        left = self._left_behind()
        self._sampler.stop()
        record = collect(self._cluster, left)
        violations = check(record)
        return Outcome(self._summary(record, violations, quiet_after, codes), violations)

    # Faults

    def _strike_all(self) -> None:
        threads = [threading.Thread(target=self._strike, args=(strike,), name=strike.kind) for strike in self.strikes]
        for thread in threads:
            thread.start()
        reported_at = 0.0
        while any(thread.is_alive() for thread in threads) or self._now() < self._seconds:
            if self._now() - reported_at > 5:
                reported_at = self._now()
                self._say(" ".join(f"{state} {jobs}" for state, jobs in sorted(self._sampler.states.items())))
            time.sleep(0.1)

    def _strike(self, strike: Strike) -> None:
        time.sleep(max(0.0, strike.at - self._now()))
        struck = self._guarded(strike.kind, lambda: self._inject(strike))
        if struck is None:
            self._nobody[strike.kind] += 1
            return
        self._made[strike.kind] += 1
        self._say(f"{strike.kind}: {struck.whom}")
        self._cluster.history.write("struck", kind=strike.kind, whom=struck.whom, **struck.details)
        time.sleep(max(0.0, strike.ends - self._now()))
        self._guarded(f"healing {strike.kind}", lambda: self._heal(struck))
        self._cluster.history.write("healed", kind=strike.kind, whom=struck.whom)

    def _inject(self, strike: Strike) -> Struck | None:
        """Strike; wait a little for a victim where there is none."""
        deadline = time.monotonic() + PATIENCE.get(KINDS[strike.kind].touches, USUAL_PATIENCE)
        while (struck := INJECT[strike.kind](self._cluster, strike)) is None and time.monotonic() < deadline:
            time.sleep(0.2)
        return struck

    def _heal(self, struck: Struck) -> None:
        """Heal; the server may be away at this moment, since a strike that waited for its victim ends later than planned."""
        deadline = time.monotonic() + HEALED_WITHIN
        while True:
            try:
                struck.heal()
            except (RedisError, SQLAlchemyError, TweetmillError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return

    def _guarded(self, what: str, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except SQLAlchemyError as error:
            # Another fault holds the server that this one needs: nobody was hit.
            self._cluster.history.write("missed", what=what, error=type(error).__name__)
            if what.startswith("healing"):
                self._cluster.history.write("harness failed", what=what, error=repr(error))
        except Exception as error:
            self._cluster.history.write("harness failed", what=what, error=repr(error))
        return None

    # The end

    def _wait_until_quiet(self) -> float | None:
        """Seconds until no job waited or ran; None when that did not come in time."""
        begun = time.monotonic()
        while time.monotonic() - begun < QUIET_WITHIN:
            if answers(self._cluster) and self._cluster.sql(_OPEN)[0].jobs == 0:
                self._cluster.history.write("quiet")
                return round(time.monotonic() - begun, 1)
            if int(time.monotonic() - begun) % 5 == 0:
                self._say("healed; " + " ".join(f"{state} {jobs}" for state, jobs in sorted(self._sampler.states.items())))
            time.sleep(1.0)
        return None

    def _left_behind(self) -> list[str]:
        """Processes that are there ten seconds after the last worker left."""
        deadline = time.monotonic() + 10
        while (found := self._cluster.census.take()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [f"{one.role} {one.pid} of {one.worker}" for one in found]

    def _summary(self, record: Record, violations: list[Violation], quiet: float | None, codes: dict[str, int | None]) -> dict[str, Any]:
        states = Counter(job["state"] for job in record.jobs)
        trainings = [job for job in record.jobs if job["kind"] == "training.train"]
        return {
            "seed": self._seed,
            "minutes": round(self._seconds / 60, 2),
            "faults": dict(sorted(self._made.items())),
            "jobs": len(record.jobs),
            "rows": len(record.rows) + len(record.summaries),
            "violations": len(violations),
            "faults_in_all": sum(self._made.values()),
            "without_a_victim": dict(sorted(self._nobody.items())),
            **{state: states[state] for state in ("done", "quarantined", "cancelled", "failed")},
            "attempts": sum(job["attempt"] for job in record.jobs),
            "failures": sum(job["failures"] for job in record.jobs),
            "preemptions": sum(job["preemptions"] for job in record.jobs),
            "workers": len(self._cluster.keeper.seats),
            "restarts": len(self._cluster.keeper.deaths),
            "restarts_of_producers": self._cluster.keeper.producers - 1,
            "trainings": len(trainings),
            "attempts_at_trainings": sum(job["attempt"] for job in trainings),
            "checkpoints": len(record.checkpoints),
            "resumes": len(list(resumes(record))),
            "slowest_recovery_seconds": slowest_recovery(record),
            "quiet_seconds": quiet,
            "exit_codes": codes,
            "load_average": round(os.getloadavg()[1], 1),
        }

    def _now(self) -> float:
        return time.monotonic() - self._begun

    def _say(self, message: str) -> None:
        sys.stderr.write(f"[{self._now():7.1f} s] {message}\n")
        sys.stderr.flush()


def slowest_recovery(record: Record) -> float | None:
    """The longest time, in seconds, from a healing to the end of a job that was claimed after it, as long as work was asked for."""
    healings = [event["wall"] for event in record.events_of("healed")]
    claimed = {(move["job"], move["attempt"]): move["at"] for move in record.moves if move["event"] == "claimed"}
    done = [(claimed.get((move["job"], move["attempt"]), 0.0), move["stamp"]) for move in record.moves if move["event"] == "done"]
    waits = [min((end - healed for begun, end in done if begun >= healed), default=None) for healed in healings]
    return round(max((wait for wait in waits if wait is not None), default=0.0), 1) if healings else None


def run(seed: int, seconds: float, kinds: Sequence[str], work: Sequence[str], folder: Path) -> Outcome:
    """A storm in `folder`, with everything ended when it returns or raises."""
    cluster = Cluster(folder, seed, History(folder / "history.jsonl"), work)
    try:
        return Storm(cluster, seed, seconds, kinds).run()
    finally:
        cluster.close()
