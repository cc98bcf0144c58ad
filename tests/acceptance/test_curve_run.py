"""`tweetmill curve run`: real trainings of nested subsets over the queue, each scored, all fitted; a second call adds to the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.curve.report import planned
from producers.curve.run import enqueue
from producers.recipes import read_training
from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint
from tests.support.curated import add_pairs
from tests.support.tiny_model import build_tiny_model
from workers.inference import engines


@pytest.fixture
def dataset(clean_database: Engine) -> str:
    return add_pairs(clean_database, pairs=12, held_back=4)


def nobody_watches(recipe: Path, sizes: list[int]) -> None:
    """Leave a curve as an interrupted call does: trainings were asked for, no score was."""
    spec = read_training(recipe, [])
    asked: dict[str, Any] = {"sizes": sizes, "seeds": 1, "origins": ["human", "mix"], "methods": [spec.method], "budget": "epochs"}
    points, fingerprint, _ = planned(spec, None, **asked)
    enqueue(points, fingerprint)


@pytest.mark.timeout(900)
def test_points_are_trained_scored_and_fitted_and_more_are_added(
    clean_database: Engine, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = build_tiny_model(tmp_path / "base")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: grown\nbase: {base}\ndataset: {dataset}\nlora_r: 4\nzero_stage: 0\nper_device_train_batch_size: 4\n")
    asked = ["curve", "run", "-r", str(recipe), "--seeds", 1, "--origins", "human,mix"]

    plan = answer(capsys, *asked, "--sizes", "4,8", "--dry-run", "--json")
    assert (plan["points"], [row["steps"] for row in plan["sizes"]]) == (4, ["1 to 2", "2 to 4"])
    with clean_database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM job")).scalar_one() == 0, "a dry run asks for nothing"
    assert "has 12 curated pairs to learn from" in complaint(capsys, 1, *asked, "--sizes", "4,13")

    nobody_watches(recipe, sizes=[4, 8])
    with working(clean_database):
        drawn = answer(capsys, "curve", "show", "grown", "--wait", "--json")
        grown = answer(capsys, *asked, "--sizes", "4,8,12", "--json")
        shown = answer(capsys, "curve", "show", "grown", "--json")
        part = answer(capsys, "curve", "run", "-r", str(recipe), "--seeds", 1, "--origins", "mix", "--sizes", "4,8", "--json")
    engines.release()

    assert list(drawn["series"]) == ["lora, human", "lora, human and noise"]
    assert [point["size"] for point in drawn["series"]["lora, human"]["points"]] == [4, 8]
    assert (drawn["n"], drawn["failed"]) == (4, 0)
    assert drawn["baselines"]["lead"]["n"] == 4
    assert drawn["series"]["lora, human"]["verdict"] == "unsure", "two sizes are too few"
    jobs = {each["job"] for each in grown["trained"]}
    assert {each["job"] for each in drawn["trained"]} < jobs, "what was trained before is not trained again"
    assert len(jobs) == 6
    assert {each["job"] for each in shown["trained"]} == jobs
    assert shown["series"] == grown["series"]
    assert (shown["done"], shown["not_asked"]) == (6, 0)
    human = grown["series"]["lora, human"]
    against = {each["baseline"]: each for each in human["against"]}
    assert set(against) == set(grown["baselines"]) == {"lead", "rules", "zero_shot", "few_shot", "few_shot_guarded"}
    assert against["lead"]["paired"]
    assert not against["few_shot"]["paired"], "the base was asked once, beside a model of the largest size of then"
    assert human["another"]["cost"]["training"]["measured"] == 3
    assert (list(part["series"]), len(part["trained"])) == (["lora, human and noise"], 2)
    assert part["baselines"] == grown["baselines"], "the prompts stand beside a model that is not in this part"
    with clean_database.connect() as connection:
        examples = connection.execute(
            text("SELECT payload ->> 'name', (result ->> 'examples')::int FROM job WHERE kind = 'training.train' ORDER BY 1")
        ).all()
        prompted = text("SELECT count(*) FROM job WHERE kind = 'evaluation.compare' AND payload->'baselines' @> '[\"zero_shot\"]'")
        assert connection.execute(prompted).scalar_one() == 1
    assert dict(map(tuple, examples)) == {
        "grown-lora-human-4-0": 4,
        "grown-lora-human-8-0": 8,
        "grown-lora-human-12-0": 12,
        "grown-lora-mix-4-0": 8,
        "grown-lora-mix-8-0": 16,
        "grown-lora-mix-12-0": 24,
    }
    assert "there is none; there are grown" in complaint(capsys, 1, "curve", "show", "other")
