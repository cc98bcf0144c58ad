"""The rights of the roles: every table is thought of, and nobody but the owner deletes, but for what a producer forgets."""

from __future__ import annotations

import re
from pathlib import Path

from schemas import roles
from schemas.tables.jobs import Job

ROOT = Path(__file__).resolve().parents[3]
TABLES = Job.metadata.tables


def test_every_table_is_written_by_a_producer_or_a_worker():
    written = {table for tables in roles.RIGHTS.values() for table in tables}
    assert written == set(TABLES)


def test_what_may_be_updated_are_columns_that_exist():
    for tables in roles.RIGHTS.values():
        for table, rights in tables.items():
            assert set(rights.update) <= set(TABLES[table].columns.keys()), table


def test_what_a_job_is_stays_as_it_was_inserted():
    fixed = {"id", "kind", "queue", "idempotency_key", "payload", "parent", "max_failures", "created_at"}
    for tables in roles.RIGHTS.values():
        assert not fixed & set(tables.get("job", roles.Rights()).update)


def test_no_right_is_to_empty_or_to_reshape():
    granted = " ".join(statement for statement in roles.statements() if statement.startswith("GRANT"))
    assert not re.search("TRUNCATE|CREATE|REFERENCES|TRIGGER|ALL ON", granted)


def test_a_producer_may_delete_what_is_forgotten_or_of_an_earlier_text_and_nobody_else_anything():
    forgets = {"tweet", "curated", "example", "dropped", "review", "forgotten", "summary"}
    deletes = {role: {name for name, rights in tables.items() if rights.delete} for role, tables in roles.RIGHTS.items()}
    assert deletes == {roles.PRODUCER: forgets, roles.WORKER: set(), roles.READER: set()}


def test_nothing_else_deletes():
    deleting = re.compile(r"\b(?:DELETE FROM|TRUNCATE|DROP TABLE|ALTER TABLE)\b|(?<![.\w])delete\(")
    sources = {path: path.read_text() for package in ("workers", "tasks", "producers") for path in (ROOT / package).rglob("*.py")}
    # Forgetting has a producer's rights, takes rows out of what an ingest is about to store, and a stream takes the summaries of an
    # earlier text away, and tweets that their network sends again. The other statements that do are the owner's: `tweetmill migrate`
    # forgets workers of long ago, `tweetmill rm` removes a model, and `tweetmill prune` what is old.
    found = {str(path.relative_to(ROOT)): len(deleting.findall(source)) for path, source in sources.items() if deleting.search(source)}
    assert found == {
        "workers/jobs/worker_registry.py": 1,
        "workers/catalog/model_changes.py": 2,
        "workers/catalog/removal/forgetting.py": 9,
        "workers/catalog/removal/ended_jobs.py": 1,
        "workers/catalog/removal/pruning.py": 5,
        "workers/ingest/tweets.py": 1,
        "workers/streams/arrivals.py": 1,
        "workers/streams/deletions.py": 1,
    }
    assert [str(path) for path, source in sources.items() if "worker_registry.forget" in source] == []
