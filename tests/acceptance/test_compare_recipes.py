"""`tweetmill compare -r`: real ranks train one model and the two of a chain at an equal budget, and their rows are compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint
from tests.support.tiny_model import build_tiny_model
from workers.inference import engines


@pytest.fixture
def dataset(clean_database: Engine) -> str:
    """Pairs for both stages, four of which are held back."""
    with clean_database.begin() as connection:
        new = connection.execute(text("INSERT INTO dataset (name, fingerprint) VALUES ('both', 'f') RETURNING id")).scalar_one()
        rows = [
            {
                "dataset": new,
                "key": f"{stage}-{number}",
                "stage": stage,
                "prompt": f"omg bus {number} was late #fail",
                "target": f"Bus {number} was late.",
                "split": "test" if number < 4 else "train",
                "cluster": number,
            }
            for number in range(16)
            for stage in ("clean", "summary")
        ]
        connection.execute(
            text(
                "INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, split, cluster) "
                "VALUES (:dataset, :key, :stage, :prompt, :target, 'human', :split, :cluster)"
            ),
            rows,
        )
    return "both"


def test_one_stage_is_compared_with_two_at_as_many_steps(
    clean_database: Engine, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = build_tiny_model(tmp_path / "base")
    recipe = f"base: {base}\ndataset: {dataset}\nlora_r: 4\nlearning_rate: 0.01\nworld_size: 1\nzero_stage: 0\nstage: "
    for name, stage in (("one", "summary"), ("clean", "clean"), ("short", "summary")):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n{recipe}{stage}\n")
    one, two = str(tmp_path / "one.yaml"), f"{tmp_path}/clean.yaml+{tmp_path}/short.yaml"
    asked = ["compare", "-r", one, "-r", two, "lead", "per_device_train_batch_size=2"]

    with working(clean_database):
        compared = answer(capsys, *asked, "--steps", 4, "--json")
        again = answer(capsys, *asked, "--steps", 4, "--json")
    engines.release()

    assert list(compared["systems"]) == ["one", "clean-then-short", "lead"]
    assert {name: made["steps"] for name, made in compared["training"].items()} == {"one": 4, "clean-then-short": 4}
    assert all(made["tokens"] > 0 for made in compared["training"].values())
    assert compared["training"]["clean-then-short"]["parts"] == ["clean", "short"]
    assert compared["systems"]["one"]["sari"]["n"] == 4
    assert "one" in compared["verdict"][0]
    assert "clean-then-short" in compared["verdict"][0]
    assert again == compared, "the same recipes on the same examples are the same models"
    with clean_database.connect() as connection:
        steps = connection.execute(text("SELECT name, details ->> 'steps' FROM model WHERE method = 'lora' ORDER BY name")).all()
    assert [tuple(row) for row in steps] == [("clean", "2"), ("one", "4"), ("short", "2")]
    assert "give two recipes or more" in complaint(capsys, 2, "compare", "-r", one)
    assert "leave --no-wait out" in complaint(capsys, 2, "compare", "-r", one, "-r", two, "--no-wait")
    assert json.dumps(compared).count("omg bus") == 0
