"""A training on real ranks with a tiny model, watched from outside, and whose processes are killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.training import TrainingSpec
from workers import clock
from workers.processes import command_line, descendants, is_running
from workers.training.launcher import launch
from workers.training.protocol.outcome import StopReason, TrainingFailed, TrainingResult
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import CheckpointWritten, Event, ProgressReader, Step

WORDS = ["bus", "train", "sister", "Oslo", "library", "Monday", "swimming", "medals", "city", "hope"]


def write_train_file(path: Path, examples: int = 48) -> Path:
    """Conversations of several lengths that a model learns in a few steps."""
    lines = []
    for number in range(examples):
        words = [WORDS[(number * step + step) % len(WORDS)] for step in range(1, 4 + number % 7)]
        prompt = [{"role": "system", "content": "Summarize the tweet."}, {"role": "user", "content": " ".join(words) + "!!"}]
        lines.append(json.dumps({"prompt": prompt, "completion": f"The {words[0]} was late."}))
    path.write_text("\n".join(lines) + "\n")
    return path


def a_spec(base: Path, **changes: Any) -> TrainingSpec:
    options = {"name": "tiny", "base": str(base), "dataset": "d", "world_size": 2, "max_steps": 12, "learning_rate": 2e-2} | changes
    return TrainingSpec(**options)


class Run:
    """A training in a thread of its own. `order` is what its launcher is asked for, `held_until` the deadline that it sets."""

    def __init__(self, spec: TrainingSpec, train_file: Path, folder: Path, *, has_deadline: bool = False, **where: Any) -> None:
        self.payload = RunPayload(spec=spec, train_file=train_file, run_folder=folder, **where)
        self.events: list[Event] = []
        self.order: StopReason | None = None
        self.held_until = clock.now() + 3600
        self.outcome: TrainingResult | Exception | None = None
        self._thread = threading.Thread(target=self._train, args=(has_deadline,))
        self._thread.start()

    def _train(self, has_deadline: bool) -> None:
        until = (lambda: self.held_until) if has_deadline else None
        try:
            self.outcome = launch.run(self.payload, self.events.append, lambda: self.order, until)
        except Exception as error:
            self.outcome = error

    @property
    def steps(self) -> dict[int, float]:
        """The loss of each step so far."""
        return {event.step: event.loss for event in self.events if isinstance(event, Step)}

    @property
    def checkpoints(self) -> list[CheckpointWritten]:
        """The checkpoints made so far."""
        return [event for event in self.events if isinstance(event, CheckpointWritten)]

    def group(self) -> dict[str, list[int]]:
        """The living processes of the run, by role."""
        roles: dict[str, list[int]] = {"supervisor": [], "agent": [], "rank": []}
        for pid in descendants(os.getpid()):
            command = command_line(pid)
            for role, mark in (("supervisor", "launcher.supervisor"), ("agent", "distributed.run"), ("rank", "training.rank")):
                if mark in command:
                    roles[role].append(pid)
                    break
        return roles

    def until_it_steps(self) -> list[int]:
        """Wait for the second step; return all pids of the group."""
        return self.until(lambda: len(self.steps) >= 2)

    def until(self, condition: Callable[[], bool]) -> list[int]:
        """Wait until `condition` holds, which it must before the run ends; return all pids of the group."""
        wait_for(lambda: condition() or self.outcome is not None, 90)
        group = self.group()
        expected = (1, self.payload.spec.world_size)
        assert (len(group["supervisor"]), len(group["rank"])) == expected, (self.outcome, getattr(self.outcome, "log_tail", ""))
        return [pid for pids in group.values() for pid in pids]

    def until_written(self, step: int) -> list[int]:
        """Wait until the ranks say that they made `step`, a moment before their launcher hears of it; return all pids."""
        reader = ProgressReader(self.payload.run_folder)
        return self.until(lambda: any(isinstance(event, Step) and event.step >= step for event in reader.read()))

    def kill(self, role: str, which: int = 0) -> None:
        """SIGKILL one process of a role."""
        os.kill(self.group()[role][which], signal.SIGKILL)

    def end(self) -> TrainingResult | Exception | None:
        self._thread.join(200)  # of the 300 s that a test has: a busy machine takes long, and only ranks that hang take all of it
        assert not self._thread.is_alive(), "the ranks still run"
        return self.outcome

    def end_badly(self) -> TrainingFailed:
        outcome = self.end()
        assert isinstance(outcome, TrainingFailed), outcome
        return outcome


def alive(pids: list[int]) -> list[int]:
    """Those of `pids` that still run."""
    return [pid for pid in pids if is_running(pid)]


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    """Wait until `condition` holds; return after how many seconds it did."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


def train(spec: TrainingSpec, train_file: Path, folder: Path, **where: Any) -> tuple[TrainingResult, Run]:
    """A training from its beginning, or from a checkpoint, to its end."""
    run = Run(spec, train_file, folder, **where)
    outcome = run.end()
    assert isinstance(outcome, TrainingResult), (outcome, getattr(outcome, "log_tail", ""))
    return outcome, run


def limit(pids: list[int], which: int, most: int) -> None:
    """Set a limit of the kernel (`resource.RLIMIT_…`) on processes that run already."""
    for pid in pids:
        resource.prlimit(pid, which, (most, most))
