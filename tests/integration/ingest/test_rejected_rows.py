"""Rejected rows are found by the name that a person knows: of a dataset, a file, or any path to it."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from workers.ingest import rejected_rows

_JOB = "INSERT INTO job (id, kind, queue, idempotency_key, payload) VALUES (:id, 'k', 'synthesis', :key, cast(:payload AS jsonb))"


@pytest.fixture
def kept(clean_database: Engine) -> Engine:
    """Rows of an ingest, of a file of pairs as it came in, and of two datasets that were made of files."""
    with clean_database.begin() as connection:
        jobs = {}
        for name, payload in {
            "one": {"dataset": "one", "pairs": "pairs.jsonl:0a1b2c", "imports": {"file": "rows.jsonl:0d0e0f+99", "form": "alpaca"}},
            "two": {"dataset": "two", "pairs": "pairs.jsonl:ffff"},
        }.items():
            jobs[name] = uuid4()
            connection.execute(text(_JOB), {"id": jobs[name], "key": name, "payload": json.dumps(payload)})
        rejected_rows.keep(connection, "data/tweets.jsonl", [("7", "text", "the text is missing")])
        rejected_rows.keep(connection, "/home/ann/pairs.jsonl", [("3", None, "no JSON")])
        rejected_rows.keep(connection, "one", [("rows.jsonl line 2", None, "twice"), ("77", "tweet_id", "tweet not ingested")], jobs["one"])
        rejected_rows.keep(connection, "two", [("88", "tweet_id", "tweet not ingested")], jobs["two"])
    return clean_database


@pytest.mark.parametrize(
    ("typed", "rows"),
    [
        (None, ["7", "3", "rows.jsonl line 2", "77", "88"]),
        ("tweets.jsonl", ["7"]),
        ("data/tweets.jsonl", ["7"]),
        ("./data/tweets.jsonl", ["7"]),
        ("/srv/data/tweets.jsonl", ["7"]),
        ("other/tweets.jsonl", []),
        ("pairs.jsonl", ["3", "77", "88"]),
        ("/home/ann/pairs.jsonl", ["3", "77", "88"]),
        ("rows.jsonl", ["rows.jsonl line 2"]),
        ("in/rows.jsonl", ["rows.jsonl line 2"]),
        ("one", ["rows.jsonl line 2", "77"]),
        ("two", ["88"]),
        ("rows", []),
        ("s.jsonl", []),
        ("%", []),
    ],
)
def test_rows_are_found_by_dataset_file_or_path(kept: Engine, typed: str | None, rows: list[str]) -> None:
    with kept.connect() as connection:
        found = rejected_rows.find_rejected(connection, typed, limit=10)
        assert ([row["row"] for row in found.rows], found.total) == (rows, len(rows))
        newest = rejected_rows.find_rejected(connection, typed, limit=1)
        assert ([row["row"] for row in newest.rows], newest.total) == (rows[-1:], len(rows))
