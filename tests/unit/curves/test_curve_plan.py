"""What is said of a curve before it starts."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import producers.curve.run
from producers.cli import main
from producers.curve.points import CurvePoint, Mixture, check_origins, lay_out
from producers.curve.report import _plan_words, _to_do
from producers.render.exit_codes import UsageError, explain
from schemas.tables.datasets import Dataset
from schemas.training import TrainingSpec
from workers import database
from workers.catalog import datasets
from workers.catalog.examples import training_examples
from workers.catalog.examples.training_examples import Amount


def plan(**changes: Any) -> dict[str, Any]:
    return {"points": 9, "examples": 480, "seconds": None, "usd": None, "fewest_steps": 30} | changes


def test_time_and_price_are_said_where_a_training_was_timed() -> None:
    assert "about 2 m 0 s on one worker at the rate of the last training, 0.07 USD" in _plan_words(plan(seconds=120, usd=0.07))
    assert "not known before the first one" in _plan_words(plan())


@pytest.mark.parametrize(("steps", "warned"), [(2, True), (30, False)])
def test_points_of_hardly_any_steps_are_warned_of(steps: int, warned: bool) -> None:
    assert ("teach next to nothing" in _plan_words(plan(fewest_steps=steps))) is warned


def test_whoever_has_imports_alone_is_told_how_to_make_pairs_of_them() -> None:
    assert "`tweetmill synthesize` with pairs=FILE" in _to_do(0)
    assert _to_do(12) == "give --sizes up to that"


def points(*origins: Mixture, **recipe: Any) -> list[CurvePoint]:
    asked: dict[str, Any] = {"sizes": [25, 50], "seeds": 2, "methods": ["lora", "freeze"], "budget": "epochs"}
    return lay_out(TrainingSpec(name="mine", base="b", dataset="mine", **recipe), origins=origins, lines=lambda spec: 9, **asked)


def without_noise(spec: TrainingSpec) -> int:
    return 0 if spec.origins == ("noise",) else spec.pairs or 0


@pytest.mark.parametrize("origin", ["noise", "mix"])
def test_noise_of_a_dataset_without_any_is_bad_usage_that_says_how_to_make_some(origin: Mixture) -> None:
    with pytest.raises(UsageError) as refused:
        check_origins(points("human", origin), "mine", without_noise)
    code, told = explain(refused.value)
    assert code == 2
    assert f"--origins {origin}: dataset mine has no examples of origin noise: " in told
    assert "`tweetmill synthesize -r recipes/synthesis-summary.yaml dataset=mine pairs=FILE`" in told
    with pytest.raises(UsageError, match=r"synthesis-clean\.yaml"):
        check_origins(points(origin, stage="clean"), "mine", without_noise)


def test_a_subset_without_noise_fails_alone_and_is_no_fault_of_a_mixture() -> None:
    def some(spec: TrainingSpec) -> int:
        return 0 if spec.origins == ("noise",) and (spec.pairs, spec.pairs_seed) == (25, 1) else 9

    check_origins(points("human", "mix"), "mine", some)
    with pytest.raises(UsageError, match="has no examples of origin noise of the 25 pairs that seed 1 draws: "):
        check_origins(points("noise"), "mine", some)


def test_origins_with_examples_are_counted_once_whatever_the_methods() -> None:
    asked: list[TrainingSpec] = []

    def count(spec: TrainingSpec) -> int:
        asked.append(spec)
        return 9

    check_origins(points("human", "noise", "mix"), "mine", count)
    assert len(asked) == 8, "two origins of two sizes and seeds"


def test_pairs_without_a_clean_text_teach_nothing_from_it() -> None:
    with pytest.raises(UsageError, match="no examples of origin human with a clean text"):
        check_origins(points("human"), "mine", lambda spec: 0)


def test_nothing_is_asked_for_where_an_origin_has_no_examples(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database, "session", nullcontext)
    monkeypatch.setattr(datasets, "resolve", lambda session, name: Dataset(id=1, name=name, recipe={}, fingerprint="f"))
    monkeypatch.setattr(training_examples, "pairs", lambda session, dataset, stage: 50)
    monkeypatch.setattr(training_examples, "amount", lambda session, dataset, spec: Amount(without_noise(spec), 9, 9))
    monkeypatch.setattr(producers.curve.run, "enqueue", lambda points, fingerprint: pytest.fail("a training was asked for"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: mine\nbase: b\ndataset: mine\n")
    asked = ["curve", "run", "-r", str(recipe), "--sizes", "25,50", "--origins", "human,noise"]
    assert [main(asked), main([*asked, "--dry-run"])] == [2, 2]
    assert "dataset mine has no examples of origin noise" in " ".join(capsys.readouterr().err.split())
