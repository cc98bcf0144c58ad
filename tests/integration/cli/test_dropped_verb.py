"""dataset dropped: what filters kept out, by reason, of a dataset or of a build that failed."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.integration.verbs import answer, complaint, printed


def build_of(engine: Engine, dataset: str, rows: list[tuple[str, str, list[str]]], state: str = "done", fingerprint: str = "f" * 64) -> str:
    """A job that dropped `rows`: key, origin and reasons."""
    job = uuid.uuid4()
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO job (id, kind, queue, idempotency_key, payload, state, finished_at, result) VALUES (:id, "
                "'synthesis.synthesize', 'synthesis', :key, cast(:payload AS jsonb), :state, clock_timestamp(), cast(:result AS jsonb))"
            ),
            {
                "id": job,
                "key": str(job),
                "payload": json.dumps({"dataset": dataset}),
                "state": state,
                "result": json.dumps({"fingerprint": fingerprint}),
            },
        )
        for key, origin, reasons in rows:
            connection.execute(
                text(
                    "INSERT INTO dropped (job, key, dataset, stage, prompt_text, target_text, origin, reasons) "
                    "VALUES (:job, :key, :dataset, 'summary', :prompt, :target, :origin, cast(:reasons AS jsonb))"
                ),
                {
                    "job": job,
                    "key": key,
                    "dataset": dataset,
                    "prompt": f"tweet {key} :[red]",
                    "target": f"Target {key}.",
                    "origin": origin,
                    "reasons": json.dumps(reasons),
                },
            )
    return str(job)


ROWS = [
    ("a", "teacher", ["new_word"]),
    ("b", "teacher", ["new_number", "new_word"]),
    ("c", "import", ["language"]),
]


def test_it_counts_by_reason_and_shows_the_examples(clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    job = build_of(clean_database, "mix", ROWS)

    found: dict[str, Any] = answer(capsys, "dataset", "dropped", "mix", "--json")
    assert (found["dataset"], found["job"], found["state"], found["total"]) == ("mix", job, "done", 3)
    assert found["reasons"] == {"new_word": 2, "language": 1, "new_number": 1}
    assert found["origins"] == {"teacher": 2, "import": 1}
    assert [(row["key"], row["reasons"], row["prompt"]) for row in found["examples"]][1] == (
        "b",
        ["new_number", "new_word"],
        "tweet b :[red]",
    )

    page = printed(capsys, "dataset", "dropped", "mix")
    assert "Dropped from mix: 3 examples (2 of teacher, 1 of import)." in page
    assert "█" in page
    assert "66.7 %" in page
    assert "tweet a :[red]" in page


def test_one_reason_and_a_limit(clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    build_of(clean_database, "mix", ROWS)

    found = answer(capsys, "dataset", "dropped", "mix", "--reason", "new_word", "--limit", "1", "--json")
    assert [row["key"] for row in found["examples"]] == ["a"]
    assert found["total"] == 3
    assert answer(capsys, "dataset", "dropped", "mix", "--limit", "0", "--json")["examples"] == []
    heard = complaint(capsys, 1, "dataset", "dropped", "mix", "--reason", "bad")
    assert "nothing was dropped for that. There are new_word, language, new_number" in heard


def test_the_newest_build_is_told_of_even_if_it_failed(clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    build_of(clean_database, "mix", ROWS, fingerprint="abc" + "0" * 61)
    build_of(clean_database, "other", ROWS[:1])
    failed = build_of(clean_database, "mix", ROWS[:2], state="failed", fingerprint="")
    build_of(clean_database, "mix", [], state="queued")

    assert answer(capsys, "dataset", "dropped", "mix", "--json")["total"] == 2
    assert f"Job {failed[:8]} is failed: `tweetmill job {failed[:8]}` says why." in " ".join(
        printed(capsys, "dataset", "dropped", "mix").split()
    )
    assert answer(capsys, "dataset", "dropped", "mix@abc000000000", "--json")["total"] == 3


def test_nothing_dropped_and_nothing_built_are_told_apart(clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    build_of(clean_database, "mix", [])

    assert "Nothing was dropped from mix." in printed(capsys, "dataset", "dropped", "mix")
    assert "nothing was built under this name" in complaint(capsys, 1, "dataset", "dropped", "mux")
