"""Twelve SIGKILLs of the busy worker under 1,500 short jobs, for plain Celery and for the ledger side by side.

Each kill hits the worker's main process when a random number of jobs has begun, a random moment later; its pool dies with it, and a
new worker starts at once. A seed fixes the jobs and the kills, so both ways get the same. Counts are told, and the seconds beside
them: much of those are twelve starts of a Python process.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import text

from benchmarks import storm
from benchmarks.measure import CannotRun
from benchmarks.servers import empty, log_of, start_worker, wait_for
from workers.broker import redis_client
from workers.database import transaction
from workers.processes import descendants, parent_of
from workers.settings import get_settings

JOBS, KILLS, SEEDS = 1500, 12, (1, 2, 3)
QUICK_JOBS, QUICK_KILLS, QUICK_SEEDS = 60, 2, (1,)
LEASE = {"TWEETMILL_LEASE": "4", "TWEETMILL_HEARTBEAT": "1", "TWEETMILL_UPKEEP_INTERVAL": "0.5", "TWEETMILL_REPUBLISH_AFTER": "2"}
_PAUSE = (0.002, 0.008)  # seconds that a job takes
_PHASE = 0.03  # seconds: longer than a job, so that a kill may strike anywhere in it
_QUIET = 3.0  # seconds without a message in Redis until nothing more can come


@dataclass(frozen=True)
class Way:
    """How jobs are kept, and how to see that nothing more will happen to them."""

    name: str
    app: str
    queue: str
    processes: int
    environment: dict[str, str]
    enqueue: Callable[[list[storm.Short]], None]
    is_over: Callable[[], bool]


@dataclass(frozen=True)
class Outcome:
    """What became of the jobs. `lost` ones left no row and nothing in Redis or the ledger that would still bring them about."""

    way: str
    seed: int
    jobs: int
    kills: int
    lost: int
    begun_again: int
    rows_twice: int
    processes_left: int
    seconds: float


@dataclass
class Storms:
    """Both ways, a storm for each seed."""

    outcomes: list[Outcome] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"outcomes": [asdict(outcome) for outcome in self.outcomes]}

    def lines(self) -> list[str]:
        """For people: Markdown."""
        names = ("way", "seed", "jobs", "kills", "lost", "begun again", "rows twice", "processes left", "seconds")
        rows = (names, ("---",) * len(names), *(tuple(asdict(outcome).values()) for outcome in self.outcomes))
        return [f"| {' | '.join(map(str, row))} |" for row in rows]


def run(*, quick: bool) -> Storms:
    """1,500 jobs of a few milliseconds and 12 kills, for each of three seeds and both ways."""
    jobs, kills, seeds = (QUICK_JOBS, QUICK_KILLS, QUICK_SEEDS) if quick else (JOBS, KILLS, SEEDS)
    storms = Storms()
    for seed in seeds:
        storms.outcomes += [strike(way, seed, jobs, kills, get_settings().home) for way in (plain_celery(), tweetmill())]
    return storms


def plain_celery() -> Way:
    """Late acknowledgement, eight messages fetched ahead for each of two processes, redelivery after ten seconds."""
    return Way("plain Celery, acks_late", "benchmarks.storm:plain", storm.PLAIN_QUEUE, 2, {}, storm.send, Quiet(_holds_no_message))


def tweetmill() -> Way:
    """The ledger, with leases of four seconds."""
    return Way("tweetmill", "benchmarks.storm:kept", storm.KEPT_QUEUE.value, 1, LEASE, storm.enqueue, _no_job_is_open)


def strike(way: Way, seed: int, jobs: int, kills: int, folder: Path) -> Outcome:
    """Let one storm pass over one way."""
    chance = random.Random(seed)
    diary = folder / f"diary-{way.queue}-{seed}"
    diary.touch()
    moments = sorted(chance.sample(range(1, jobs * 9 // 10), kills))
    phases = [chance.uniform(0, _PHASE) for _ in moments]
    work = [storm.Short(number=number, pause=chance.uniform(*_PAUSE), diary=str(diary)) for number in range(jobs)]
    _clear()
    way.enqueue(work)

    started, left = time.monotonic(), 0
    worker = _start(way, folder)
    try:
        for moment, phase in zip(moments, phases, strict=True):
            wait_for(partial(storm.has_begun, diary, moment), f"job {moment} of {way.name}", pause=0.001)
            time.sleep(phase)
            left += _kill(worker)
            worker = _start(way, folder)
        wait_for(way.is_over, f"the last job of {way.name}; see {log_of(way.queue, folder)}", pause=0.1)
        seconds = time.monotonic() - started
    finally:
        left += _kill(worker)
    rows = _effects()
    return Outcome(
        way=way.name,
        seed=seed,
        jobs=jobs,
        kills=kills,
        lost=jobs - len(rows),
        begun_again=storm.begun(diary) - len(set(diary.read_text().split())),
        rows_twice=sum(1 for count in rows.values() if count > 1),
        processes_left=left,
        seconds=round(seconds, 1),
    )


def _start(way: Way, folder: Path) -> subprocess.Popen[bytes]:
    return start_worker(way.app, way.queue, folder, processes=way.processes, **way.environment)


def _kill(worker: subprocess.Popen[bytes]) -> int:
    """SIGKILL to the main process alone; return how many of its pool are there five seconds later."""
    if worker.poll() is not None:
        raise CannotRun("the worker ended before it was killed")
    pool = descendants(worker.pid)
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 5
    while (left := [pid for pid in pool if parent_of(pid) is not None]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(left)


def _clear() -> None:
    with transaction() as connection:
        connection.execute(text(storm.EFFECTS))
    empty("job", "effect")
    with redis_client(get_settings().broker()) as client:
        client.flushdb()


def _effects() -> dict[int, int]:
    """How many rows each job left."""
    with transaction() as connection:
        return {row.number: row.rows for row in connection.execute(text("SELECT number, count(*) AS rows FROM effect GROUP BY number"))}


def _no_job_is_open() -> bool:
    with transaction() as connection:
        return not connection.execute(text("SELECT count(*) FROM job WHERE state IN ('queued', 'running')")).scalar_one()


def _holds_no_message() -> bool:
    with redis_client(get_settings().broker()) as client:
        return not client.llen(storm.PLAIN_QUEUE) and not client.hlen("unacked")


class Quiet:
    """Whether something has held at every look for three seconds."""

    def __init__(self, condition: Callable[[], bool], now: Callable[[], float] = time.monotonic) -> None:
        self._condition = condition
        self._now = now
        self._since: float | None = None

    def __call__(self) -> bool:
        """Look."""
        if not self._condition():
            self._since = None
            return False
        looked = self._now()
        self._since = looked if self._since is None else self._since
        return looked - self._since >= _QUIET
