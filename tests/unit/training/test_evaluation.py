"""Which evaluation is the best, when a run ends early, and which recipes ask for evaluations that make no sense."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.training import TrainingSpec
from workers.training.protocol.manifest import EvaluationState
from workers.training.protocol.progress import Evaluated, Step
from workers.training.rank.evaluation.evaluation import judged

NAN = float("nan")


def spec(**keys: Any) -> TrainingSpec:
    return TrainingSpec(**{"name": "x", "base": "b", "dataset": "d", **keys})


def after(values: list[float | None], metric: str) -> EvaluationState:
    """The state after evaluations at steps 1, 2, …"""
    told = {"eval_rows": 9, "eval_steps": 1, "eval_generate_steps": 1, "load_best_model_at_end": True, "metric_for_best_model": metric}
    state = EvaluationState()
    for step, value in enumerate(values, 1):
        state = judged(state, Evaluated(step=step, rows=9, **{metric: value}), spec(**told), f"step-{step}")
    return state


@pytest.mark.parametrize(
    ("metric", "values", "best", "not_better"),
    [
        ("eval_loss", [3.0, 2.0, 2.5, 2.0], 2, 2),
        ("eval_sari", [30.0, 31.0, 29.0], 2, 1),
        ("eval_loss", [NAN, 2.0, NAN], 2, 1),
        ("eval_sari", [30.0, None, 31.0, None], 3, 0),
    ],
    ids=["lower loss", "higher SARI", "never what is no number", "not what was not measured"],
)
def test_the_best_is_the_first_that_none_surpasses(metric: str, values: list[float | None], best: int, not_better: int) -> None:
    state = after(values, metric)

    assert state.best is not None
    assert state.last is not None
    assert (state.best.step, state.best_folder, state.not_better, state.last.step) == (best, f"step-{best}", not_better, len(values))


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"eval_steps": 5}, "eval_steps needs eval_rows"),
        ({"eval_rows": 5}, "nothing evaluates on them"),
        ({"load_best_model_at_end": True}, "load_best_model_at_end goes by eval_loss, measured every eval_steps steps"),
        ({"early_stopping_patience": 3}, "early_stopping_patience goes by eval_loss"),
        (
            {"eval_rows": 5, "eval_steps": 5, "load_best_model_at_end": True, "metric_for_best_model": "eval_sari"},
            "measured every eval_generate_steps steps: set eval_generate_steps and eval_rows",
        ),
        ({"report_to": ["wandb"]}, "'tensorboard' or 'trackio'"),
    ],
)
def test_a_recipe_that_asks_for_what_makes_no_sense_is_refused(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        spec(**keys)


@pytest.mark.parametrize(("given", "meant"), [("none", ()), ("trackio", ("trackio",)), (["none"], ()), (["tensorboard"], ("tensorboard",))])
def test_trackers_are_named_as_hugging_face_does(given: Any, meant: tuple[str, ...]) -> None:
    assert spec(report_to=given).report_to == meant


def test_events_of_earlier_versions_are_read() -> None:
    line = '{"kind":"step","step":1,"loss":2.5,"tokens_per_second":100.0,"eta_seconds":9.0,"learning_rate":0.0001}'

    assert Step.model_validate_json(line).peak_memory_bytes == 0
