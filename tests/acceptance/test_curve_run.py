"""`tweetmill curve run`: real trainings of nested subsets over the queue, each scored, all fitted; a second call adds to the first."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint
from tests.support.tiny_model import build_tiny_model
from workers.inference import engines

PAIRS = 12


@pytest.fixture
def dataset(clean_database: Engine) -> str:
    """Twelve pairs to learn from, each of them noised once, and four that are held back."""
    with clean_database.begin() as connection:
        new = connection.execute(text("INSERT INTO dataset (name, fingerprint) VALUES ('mine', 'f') RETURNING id")).scalar_one()
        for number in range(PAIRS + 4):
            tweet, held = f"omg bus {number} was late #fail", number >= PAIRS
            connection.execute(
                text("INSERT INTO tweet (id, text, source, text_hash) VALUES (:id, :text, 'test', :id)"), {"id": str(number), "text": tweet}
            )
            for origin in ("human",) if held else ("human", "noise"):
                row = {"dataset": new, "key": f"{origin}-{number}", "prompt": tweet if origin == "human" else f"bsu {number} late"}
                connection.execute(
                    text(
                        "INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, tweet, split, cluster) "
                        "VALUES (:dataset, :key, 'summary', :prompt, :target, :origin, :tweet, :split, :cluster)"
                    ),
                    row
                    | {"target": f"Bus {number} was late.", "origin": origin, "tweet": str(number)}
                    | {"split": "test" if held else "train", "cluster": number},
                )
    return "mine"


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

    with working(clean_database):
        drawn = answer(capsys, *asked, "--sizes", "4,8", "--json")
        grown = answer(capsys, *asked, "--sizes", "4,8,12", "--json")
        shown = answer(capsys, "curve", "show", "grown", "--json")
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
    assert {each["baseline"] for each in human["against"]} == {"lead", "rules"}
    assert all(each["paired"] and each["models"] == 1 for each in human["against"])
    assert human["another"]["cost"]["training"]["measured"] == 3
    with clean_database.connect() as connection:
        examples = connection.execute(
            text("SELECT payload ->> 'name', (result ->> 'examples')::int FROM job WHERE kind = 'training.train' ORDER BY 1")
        ).all()
    assert dict(map(tuple, examples)) == {
        "grown-lora-human-4-0": 4,
        "grown-lora-human-8-0": 8,
        "grown-lora-human-12-0": 12,
        "grown-lora-mix-4-0": 8,
        "grown-lora-mix-8-0": 16,
        "grown-lora-mix-12-0": 24,
    }
    assert "there is none; there are grown" in complaint(capsys, 1, "curve", "show", "other")
