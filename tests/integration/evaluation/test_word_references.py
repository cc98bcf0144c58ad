"""evaluate with references of messy and clean: the ERR of a model that cleans, beside what a dictionary brings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.integration.in_process import working
from tests.integration.verbs import complaint, printed
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.inference import engines

PLACES = ("Oslo", "Bergen", "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Lisbon", "Dublin", "Athens")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def cleaner(clean_database: Engine, base: Path, tmp_path: Path) -> Iterator[str]:
    """A model of the stage clean that learnt from one pair."""
    with clean_database.begin() as connection:
        connection.execute(text("INSERT INTO dataset (name, fingerprint) VALUES ('pairs', 'f')"))
        connection.execute(
            text(
                "INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, split, cluster) "
                "SELECT id, 'k', 'clean', 'u r late lol', 'You are late.', 'human', 'train', 0 FROM dataset"
            )
        )
        connection.execute(
            text(
                "INSERT INTO model (name, base, method, stage, adapter_uri, dataset) "
                "SELECT 'cleaner', :base, 'lora', 'clean', :adapter, id FROM dataset"
            ),
            {"base": str(base), "adapter": str(build_tiny_adapter(base, tmp_path / "adapter"))},
        )
    yield "cleaner"
    engines._warm.clear()


@pytest.fixture
def references(tmp_path: Path) -> Path:
    rows = [{"id": place, "messy": f"@x u r in {place} lol", "clean": f"@x you are in {place} laughing out loud"} for place in PLACES]
    return written(tmp_path / "references.jsonl", rows)


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_answer_holds_the_model_and_both_baselines_with_intervals(
    clean_database: Engine, cleaner: str, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(clean_database):
        result: dict[str, Any] = json.loads(printed(capsys, "evaluate", cleaner, "--references", references, "--json"))

    assert result["as_is"]["err"] == {"value": 0, "low": 0, "high": 0, "n": 12}
    assert result["most_frequent"]["err"]["value"] == 1, "each word that needs it is learnt from the other tweets"
    assert result["dictionary"]["err"]["value"] == pytest.approx(2 / 3), "the pair has you and are, and drops lol"
    assert result["tuned"]["err"].keys() == {"value", "low", "high", "n"}
    assert result["tuned"]["err"]["value"] < 1, "a random model"
    assert result["margins"]["most_frequent"]["err"]["value"] == pytest.approx(result["tuned"]["err"]["value"] - 1)
    assert result["words"] == {"scored": 60, "needing": 36}
    with clean_database.connect() as connection:
        stored = connection.execute(text("SELECT system, value FROM evaluation WHERE metric = 'err'")).all()
    assert {row.system: row.value for row in stored} == {name: result[name]["err"]["value"] for name in result if "err" in result[name]}


def test_the_dictionary_can_be_learnt_from_a_file_of_its_own(
    clean_database: Engine, cleaner: str, references: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = written(tmp_path / "train.jsonl", [{"id": "1", "messy": "lol", "clean": "laughing out loud"}])

    with working(clean_database):
        result = json.loads(printed(capsys, "evaluate", cleaner, "--references", references, "--train-references", train, "--json"))

    assert result["most_frequent"]["err"]["value"] == pytest.approx(1 / 3)
    assert result["most_frequent_of"].startswith("train.jsonl:")


def test_a_person_gets_a_table_and_a_verdict(
    clean_database: Engine, cleaner: str, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(clean_database):
        page = printed(capsys, "evaluate", cleaner, "--references", references, "--limit", 6)

    rows = [line.split()[0] for line in page.splitlines() if "±" in line and "interval" not in line]
    assert rows == ["tuned", "unguarded", "most_frequent", "dictionary", "rules", "as_is"]
    assert "18 of 30 words need normalisation." in page
    assert "(ERR, paired on the same rows)." in page
    assert "Not evaluated yet" in printed(capsys, "model", cleaner), "its SARI is still unknown"


@pytest.mark.parametrize(
    ("stage", "line", "told"),
    [
        ("summary", None, "references of messy and clean are for a model of the stage clean"),
        ("clean", {"id": "1", "text": "omg late", "summary": "It is late."}, "put them into two files"),
        ("clean", "same", "there is nothing to score"),
    ],
)
def test_what_cannot_be_scored_is_told(
    clean_database: Engine, cleaner: str, references: Path, capsys: pytest.CaptureFixture[str], stage: str, line: object, told: str
) -> None:
    with clean_database.begin() as connection:
        connection.execute(text("UPDATE model SET stage = :stage"), {"stage": stage})
    if line == "same":
        written(references, [{"id": "1", "messy": "all is well", "clean": "All is well."}])
    elif line:
        references.write_text(references.read_text() + json.dumps(line) + "\n")

    with working(clean_database):
        assert told in complaint(capsys, 1, "evaluate", cleaner, "--references", references)


def test_train_references_alone_are_refused(cleaner: str, references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "it goes with --references" in complaint(capsys, 2, "evaluate", cleaner, "--train-references", references)


def test_scorers_of_texts_are_refused_where_words_are_scored(
    clean_database: Engine, cleaner: str, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(clean_database):
        message = complaint(capsys, 1, "evaluate", cleaner, "--references", references, "--supported-by", "/nowhere")
    assert "--similarity and --supported-by score texts, and these references are of words" in message
