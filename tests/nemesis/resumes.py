"""Kill one training again and again: `python -m tests.nemesis.resumes --kills 50 --seed 1`.

A real worker trains with two real ranks. At random moments, some of them in the middle of a checkpoint, one of its processes or all of them
get SIGKILL. The job must go on from its newest checkpoint each time, lose no more than an interval, leave no process behind, and in
the end have made the very steps of a training that nobody disturbed. Prints one line of JSON; exit code 1 where anything was violated.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import psutil
from sqlalchemy import Engine, text

from deploy.local.home import Home
from deploy.local.servers import Postgres, Valkey
from schemas.migrations import migrate
from tests.support.tiny_model import build_tiny_model
from tests.support.trainings import TrainingJob, add_dataset, group, left
from tests.support.worker_process import WorkerProcess, wait_for
from workers.database import get_engine
from workers.settings import get_settings
from workers.training.protocol.checkpoints import PARTIAL

SAVE_STEPS = 10
STEPS_A_KILL = 14
GONE_WITHIN = 10.0
PATIENCE = 180.0
LEASE = "6"
WITH_WHOM = ("all of the worker", "worker", "child", "supervisor", "agent", "rank")
_TAKE_UP = "UPDATE job SET failures = 0, run_after = now() WHERE id = :job AND state = 'queued' AND run_after > now()"


class Violated(Exception):
    """A rule that was broken."""


class Hunt:
    """A training job, the worker that does it, and what was done to them."""

    def __init__(self, engine: Engine, folder: Path, job: TrainingJob, kills: int, seed: int) -> None:
        self._engine = engine
        self._folder = folder
        self._job = job
        self._wanted = kills
        self._chance = random.Random(seed)
        self._workers: list[WorkerProcess] = []
        self.kills: Counter[str] = Counter()
        self.while_writing = 0
        self.lost: list[int] = []
        self.slowest_end = 0.0

    def worker(self) -> WorkerProcess:
        """The worker that lives; a new one when the last was killed."""
        if not self._workers or self._workers[-1].process.poll() is not None:
            name = f"worker{len(self._workers)}"
            self._workers.append(WorkerProcess(name, "training", self._folder, TWEETMILL_LEASE=LEASE))
        return self._workers[-1]

    def end(self) -> None:
        """Leave no process."""
        for worker in self._workers:
            worker.kill_all()

    def run(self) -> None:
        """All kills, and then the way to the end.

        Raises:
            Violated: naming what must not be.
        """
        for _ in range(self._wanted):
            self._one()
        self._until(lambda: self._job.row.state == "done", "the job does not end")

    def _one(self) -> None:
        self._until(lambda: self._job.row.state == "running" and bool(group(self.worker())["rank"]), "no ranks are started")
        attempt = self._job.row.attempt
        writing = self._await_a_moment(attempt)
        processes = [process for those in group(self.worker()).values() for process in those]
        victim = self._strike()
        self.kills[victim] += 1
        self.while_writing += writing
        ranks = [process for process in processes if not _is_of_the_worker(process)]
        began = time.monotonic()
        if not wait_for(lambda: left(ranks) == [], GONE_WITHIN):
            raise Violated(f"kill {attempt} of {victim}: {len(left(ranks))} processes outlive it by {GONE_WITHIN:g} s")
        self.slowest_end = max(self.slowest_end, time.monotonic() - began)
        self._until(lambda: self._job.row.attempt > attempt, f"nobody takes the job up after kill {attempt} of {victim}")
        self._judge(attempt, victim)

    def _await_a_moment(self, attempt: int) -> bool:
        """Wait for the moment of the next kill; return whether a checkpoint is being written then."""
        first = self._start(attempt)
        kind = self._chance.choice(("starting", "stepping", "stepping", "stepping", "writing", "writing"))
        most = self._job.spec.max_steps - 5
        if kind == "starting":
            time.sleep(self._chance.uniform(0, 6))
        elif kind == "stepping":
            goal = min(first + self._chance.randint(1, int(2.2 * SAVE_STEPS)), most)
            self._until(lambda: self._job.step(attempt) >= goal, f"attempt {attempt} makes no steps")
            time.sleep(self._chance.uniform(0, 0.05))
        else:
            seen_after = min(first + 1 + self._chance.choice((0, SAVE_STEPS)), most)
            self._until(lambda: self._job.step(attempt) >= seen_after, f"attempt {attempt} makes no steps")
            return _catch(self._job.folder / "checkpoints", attempt)
        return False

    def _strike(self) -> str:
        victim = self._chance.choice(WITH_WHOM)
        worker = self.worker()
        if victim == "all of the worker":
            worker.kill_all()
        elif victim == "worker":
            worker.process.kill()
            worker.process.wait()
        else:
            found = group(worker)[victim]
            if not found:
                raise Violated(f"there is no {victim} to kill")
            self._chance.choice(sorted(found, key=lambda process: process.pid)).kill()
        return victim

    def _judge(self, attempt: int, victim: str) -> None:
        """Compare what the killed attempt reached with where the next one goes on."""
        # Its choice is logged a moment after the claim.
        self._until(lambda: self._has_chosen(attempt + 1), f"attempt {attempt + 1} does not say where it begins")
        reached = max(self._job.step(attempt), self._start(attempt))
        lost = reached - self._start(attempt + 1)
        self.lost.append(lost)
        _say(f"kill {self.kills.total()}/{self._wanted}: {victim} at step {reached}, {lost} steps lost")
        if not 0 <= lost <= SAVE_STEPS:
            raise Violated(f"kill {attempt} of {victim}: {lost} steps lost, and the interval is {SAVE_STEPS}")

    def _has_chosen(self, attempt: int) -> bool:
        return (self._job.folder / f"attempt-{attempt}" / "payload.json").exists()

    def _start(self, attempt: int) -> int:
        """The step from which an attempt went on."""
        file = self._job.folder / f"attempt-{attempt}" / "payload.json"
        self._until(file.exists, f"attempt {attempt} does not start")
        resumed = json.loads(file.read_text())["resume_from"]
        return int(Path(resumed).name[5:11]) if resumed else 0

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait, and see to it meanwhile that a worker lives and that the job need not wait for its delay after failures."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise Violated(f"{otherwise}: {self._job.row.state}, {self._job.row.error}")
            self.worker()
            with self._engine.begin() as connection:
                connection.execute(text(_TAKE_UP), {"job": self._job.id})
            time.sleep(0.02)


def _is_of_the_worker(process: psutil.Process) -> bool:
    """Whether it is a pool child: those live on when it is the ranks that are killed."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _catch(folder: Path, attempt: int) -> bool:
    """Wait for a checkpoint that is being written: it takes milliseconds, so the look must be quick."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with os.scandir(folder.parent) as there:
            if not any(entry.name == folder.name for entry in there):
                continue
        with os.scandir(folder) as there:
            if any(entry.name.endswith(f"-a{attempt}{PARTIAL}") for entry in there):
                return True
    return False


def gap(job: TrainingJob, attempts: int, expected: dict[int, float]) -> float:
    """The largest difference of a step's loss from that of the undisturbed training, in whatever attempt it was made."""
    made = [(event.step, event.loss) for attempt in range(1, attempts + 1) for event in job.said(attempt) if event.kind == "step"]
    return max(abs(loss - expected[step]) for step, loss in [*made, *job.losses().items()])


def hunt(kills: int, seed: int, folder: Path) -> dict[str, object]:
    """All of it; `violations` in what is returned says what must not be."""
    with redirect_stdout(sys.stderr):  # libraries have things to say; the one line is ours
        base = build_tiny_model(folder / "tiny")
    engine = get_engine()
    add_dataset(engine)
    steps = kills * STEPS_A_KILL + 3 * SAVE_STEPS
    options = {"max_steps": steps, "save_steps": SAVE_STEPS}
    calm = Hunt(engine, folder, TrainingJob(engine, base, name="undisturbed", **options), 0, seed)
    try:
        calm.run()
    finally:
        calm.end()
    _say(f"undisturbed: {steps} steps")
    expected = calm._job.losses()
    job = TrainingJob(engine, base, name="disturbed", **options)
    disturbed = Hunt(engine, folder, job, kills, seed)
    violations: list[str] = []
    loss_gap, same = float("nan"), False
    try:
        disturbed.run()
        loss_gap = gap(job, job.row.attempt, expected)
        same = job.row.result["sha256"] == calm._job.row.result["sha256"]
        if loss_gap > 1e-3:
            violations.append(f"a loss differs by {loss_gap}")
        if sorted(job.losses()) != sorted(expected):
            violations.append("the numbers of some steps are missing")
    except Violated as error:
        violations.append(str(error))
    finally:
        disturbed.end()
    return {
        "kills": disturbed.kills.total(),
        "by_victim": dict(disturbed.kills),
        "while_writing": disturbed.while_writing,
        "resumes": len(job.resumed_from),
        "attempts": job.row.attempt,
        "steps": steps,
        "save_steps": SAVE_STEPS,
        "most_steps_lost": max(disturbed.lost, default=0),
        "mean_steps_lost": round(sum(disturbed.lost) / max(1, len(disturbed.lost)), 2),
        "slowest_group_end_seconds": round(disturbed.slowest_end, 2),
        "loss_gap": loss_gap,
        "same_adapter": same,
        "violations": violations,
    }


@contextmanager
def servers(folder: Path) -> Iterator[None]:
    """Postgres and Valkey of its own, with the settings of this process pointing to them."""
    home = Home(folder / "home")
    home.prepare()
    valkey, postgres = Valkey(home), Postgres(home)
    try:
        valkey.start()
        postgres.start()
        os.environ.update(TWEETMILL_HOME=str(home.path), DATABASE_URL=postgres.url, CELERY_BROKER_URL=valkey.url)
        # Each kill is a failure of the job, and here there are more than a job may have.
        os.environ.update(TWEETMILL_MAX_FAILURES="1000000", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
        get_settings.cache_clear()
        migrate(get_engine())
        yield
    finally:
        get_engine().dispose()
        valkey.stop()
        postgres.stop()


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all kills, print the outcome, and return 1 where anything was violated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new folder for all files; without it they are removed when nothing was violated")
    asked = parser.parse_args(arguments)
    folder = Path(asked.keep or tempfile.mkdtemp(prefix="resumes-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    began = time.monotonic()
    with servers(folder):
        result = {"seed": asked.seed, **hunt(asked.kills, asked.seed, folder)}
    result["seconds"] = round(time.monotonic() - began)
    if result["violations"]:
        _say(f"the files are in {folder}")
    elif not asked.keep:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(json.dumps(result) + "\n")
    return int(bool(result["violations"]))


if __name__ == "__main__":
    sys.exit(main())
