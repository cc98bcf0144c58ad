"""How far a curve is, and how long the rest will take."""

from __future__ import annotations

from typing import Any

from producers.curve.run import CurveProgress


def progress(**changes: Any) -> CurveProgress:
    told: dict[str, Any] = {"points": 10, "trained": 4, "done": 2, "failed": 0, "running": 1, "not_asked": 0}
    return CurveProgress(**told | changes)


def test_what_is_left_counts_trainings_and_scores() -> None:
    assert progress(pace=60.0).shown.detail == "4 trained · 1 at work · 14 m 0 s left", "six trainings and eight scores"
    assert "left" not in progress().shown.detail, "nothing was seen yet to go by"


def test_points_that_failed_leave_nothing_to_do() -> None:
    assert progress(trained=8, done=8, failed=2, running=0, pace=60.0).shown.detail == "8 trained · 2 failed"
