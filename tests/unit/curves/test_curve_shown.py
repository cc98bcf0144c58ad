"""Which points of a curve are shown together: one recipe's, by what its trainings were asked for."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

import producers.curve.costs
import producers.curve.run
from producers.cli import main
from producers.curve.costs import Costs
from producers.curve.report import drawn
from producers.curve.run import CurveProgress
from producers.curve.shown import newest, shown
from producers.curve.worth import Worth
from producers.render.curve import drawn_page
from schemas.states import JobState
from schemas.training import TrainingSpec
from workers.catalog.curves import PointStatus

SIZES = (25, 50, 100, 200)


def point(size: int, score: float | None = 50.0, seed: int = 0, fingerprint: str = "f", **recipe: Any) -> PointStatus:
    """A point of a curve as the ledger has it; without a score where that is None."""
    asked = {"base": "b", "dataset": "buses", "pairs": size, "pairs_seed": seed, "seed": seed, "curve": "grown", "origins": ("human",)}
    spec = TrainingSpec(**{"name": f"m-{size}-{seed}", **asked, **recipe})
    found = {} if score is None else {spec.name: {"sari": {"value": score, "low": score - 1, "high": score + 1, "n": 90}}}
    state = JobState.QUEUED if score is None else JobState.DONE
    return PointStatus(spec.model_dump(mode="json"), uuid4(), state, 9.0, 9, 1, state, found, (), spec.name, fingerprint, "5")


@pytest.mark.parametrize(
    "other", [{"num_train_epochs": 3}, {"learning_rate": 1e-3}, {"max_steps": 60}, {"per_device_train_batch_size": 8}, {"lora_r": 8}]
)
def test_points_of_another_recipe_are_no_seeds_of_the_newest(other: dict[str, Any]) -> None:
    old, new = [point(size, 40.0, **other) for size in SIZES], [point(size, 50.0) for size in SIZES]
    answer = drawn("grown", [*old, *new, point(400, None)], Worth(), Costs())
    (series,) = answer["series"].values()
    assert [(each["value"], each["n"]) for each in series["points"]] == [(50.0, 1)] * 4
    assert (answer["other_recipes"], answer["left_out"], answer["failed"]) == (4, 0, 1)
    assert "epochs" in answer["budget_words"]
    told = [str(part) for part in drawn_page(answer).renderables]  # type: ignore[union-attr]
    assert "4 points of other recipes are left out: only the newest recipe of this name is shown." in told


def test_what_a_curve_varies_and_what_makes_no_other_model_makes_no_other_recipe() -> None:
    points = [
        point(25),
        point(25, seed=3),
        point(50, origins=("human", "noise")),
        point(100, method="freeze"),
        point(100, save_steps=7, logging_steps=5),
        point(200, 40.0),
    ]
    found = shown(points)
    assert (found.points, found.other_recipes, found.left_out) == (points, 0, 0)
    assert drawn("grown", points, Worth(), Costs())["other_recipes"] == 0


def test_a_key_that_one_method_reads_parts_the_points_of_that_method_alone() -> None:
    lora, older = [point(size) for size in SIZES], [point(size, method="freeze", freeze_trainable_layers=2) for size in SIZES]
    newer = [point(size, method="freeze", freeze_trainable_layers=4) for size in SIZES]
    found = shown([*lora, *older, *newer])
    assert found.points == [*lora, *newer]
    assert found.other_recipes == 4


def test_a_recipe_that_is_not_scored_yet_is_not_the_one_that_is_shown() -> None:
    old, begun = [point(size) for size in SIZES], [point(25, None, num_train_epochs=3)]
    assert newest([*old, *begun]) is old[-1]
    found = shown([*old, *begun])
    assert (found.points, found.other_recipes) == (old, 1)
    assert shown(begun).points == begun
    assert shown([]).points == []


def test_a_training_that_is_older_than_a_key_had_its_default() -> None:
    old, new = point(25), point(50)
    without = PointStatus(**{**vars(old), "recipe": {key: value for key, value in old.recipe.items() if key != "human_repeats"}})
    assert shown([without, new]).other_recipes == 0


def test_points_of_another_dataset_are_counted_apart_from_those_of_another_recipe() -> None:
    found = shown([point(25, dataset="trams"), point(25, fingerprint="rebuilt"), point(25, num_train_epochs=3), point(50)])
    assert (len(found.points), found.left_out, found.other_recipes) == (1, 2, 1)


def test_what_pairs_cost_is_asked_of_the_dataset_of_the_points_that_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [point(25, dataset="old"), *(point(size, dataset="new") for size in SIZES), point(400, None, dataset="begun")]
    asked: list[str | None] = []

    def known(minutes: float | None, dataset: str | None, usd_per_hour: float | None) -> Costs:
        asked.append(dataset)
        return Costs()

    monkeypatch.setattr(producers.curve.run, "scored_rows", lambda name: None)
    monkeypatch.setattr(producers.curve.run, "status", lambda name, limit: (points, CurveProgress(6, 6, 5, 0, 0, 0)))
    monkeypatch.setattr(producers.curve.costs, "known", known)
    assert main(["curve", "show", "grown", "--json"]) == 0
    assert asked == ["new"]
