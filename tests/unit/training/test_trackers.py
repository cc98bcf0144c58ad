"""What trackers are given: numbers of steps and evaluations; one that is not installed is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.training import TrainingSpec
from workers.errors import UserError
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import Done, Evaluated, ProgressReader, Step
from workers.training.rank.tracking import TrackedProgress
from workers.training.trackers import check_trackers

SPEC = TrainingSpec(name="x", base="b", dataset="d")


class Told:
    """An accelerator that keeps what is logged."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.trackers = [self]
        self.is_finished = False

    def log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.is_finished = True


def test_trackers_get_the_numbers_of_steps_and_evaluations(tmp_path: Path) -> None:
    told = Told()
    progress = TrackedProgress(RunPayload(spec=SPEC, train_file=tmp_path / "t", run_folder=tmp_path), told)
    events = [
        Step(step=1, loss=2.5, tokens_per_second=100.0, eta_seconds=9.0, learning_rate=1e-4, peak_memory_bytes=7),
        Evaluated(step=1, rows=9, eval_loss=2.0, eval_sari=40.0, baselines={"lead": 30.0}),
        Done(),
    ]
    for event in events:
        progress.write(event)

    assert told.logged == [
        (1, {"loss": 2.5, "learning_rate": 1e-4, "tokens_per_second": 100.0, "peak_memory_bytes": 7}),
        (1, {"eval_loss": 2.0, "eval_sari": 40.0, "eval_sari_lead": 30.0}),
    ]
    assert told.is_finished
    assert ProgressReader(tmp_path).read() == events


def test_a_tracker_that_is_not_installed_is_refused_with_the_command_that_installs_it() -> None:
    check_trackers(SPEC)

    with pytest.raises(UserError, match=r"tweetboard is not installed where this worker runs: `pip install 'tweetmill\[trackers\]'`"):
        check_trackers(SPEC.model_copy(update={"report_to": ("tweetboard",)}))
