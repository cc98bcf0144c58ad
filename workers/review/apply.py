"""Applies a review: builds the dataset with edited targets, without what was rejected, with splits and clusters as they were.

A person's text is reviewed once (`queue.GROUP`), so that a verdict on a pair or a noised text holds for all that was made of it.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from schemas.payloads import ReviewedSpec
from workers.catalog import datasets
from workers.catalog.examples.dataset_names import claim_name
from workers.catalog.examples.fingerprints import dataset_fingerprint, example_key
from workers.database import session_on, transaction
from workers.errors import UserError
from workers.jobs.context import JobContext, Outcome
from workers.review.queue import GROUP

REASON = "rejected_by_reviewer"
_ROWS_A_STATEMENT = 2000

_VERDICTS = """
SELECT key, verdict, target_text, reviewer, reviewed_at, rule - 'before' - 'id' AS rule FROM review
WHERE dataset = :dataset AND verdict IN ('accepted', 'edited', 'rejected') ORDER BY key
"""
# The verdicts are read once, so that one that is given meanwhile is wholly in or wholly out.
_GIVEN = f"""
CREATE TEMPORARY TABLE given ON COMMIT DROP AS
SELECT {GROUP} AS member, row.verdict, row.edited,
       jsonb_strip_nulls(jsonb_build_object('verdict', row.verdict, 'at', row.at, 'rule', row.rule)) AS review, row.reviewer
FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row(key text, verdict text, edited text, reviewer text, at text, rule jsonb)
JOIN example USING (key) WHERE dataset = :dataset
"""  # noqa: S608
_JUDGED = f"FROM (SELECT *, {GROUP} AS member FROM example WHERE dataset = :dataset) AS example LEFT JOIN given USING (member)"  # noqa: S608
_COUNTS = f"""
SELECT count(*) FILTER (WHERE verdict IS DISTINCT FROM 'rejected') AS examples,
       count(*) FILTER (WHERE verdict IS DISTINCT FROM 'rejected' AND split = 'train') AS train,
       count(*) FILTER (WHERE verdict = 'accepted') AS accepted, count(*) FILTER (WHERE verdict = 'edited') AS edited,
       count(*) FILTER (WHERE verdict = 'rejected') AS rejected, count(*) FILTER (WHERE verdict IS NULL) AS not_reviewed
{_JUDGED}
"""  # noqa: S608
_AS_THEY_WERE = "(verdict IS NULL OR verdict = 'accepted')"
_MEMBERS = f'SELECT split, key {_JUDGED} WHERE {_AS_THEY_WERE} ORDER BY split COLLATE "C", key COLLATE "C"'
_EDITED = f"""
SELECT key, stage, prompt_text AS prompt, target_text AS target, edited, origin, tweet, split, cluster,
       (lineage - 'flagged') || jsonb_build_object('reviewer', reviewer,
                                     'review', review || jsonb_build_object('before', target_text, 'key', key)) AS lineage
{_JUDGED} WHERE verdict = 'edited'
"""
# Whoever looked at a row has answered what filters found in it.
_REVIEWED_LINEAGE = (
    "CASE WHEN verdict IS NULL THEN lineage ELSE (lineage - 'flagged') || jsonb_build_object('reviewer', reviewer, 'review', review) END"
)
_INSERT_AS_THEY_WERE = f"""
INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, tweet, lineage, split, cluster)
SELECT :new, key, stage, prompt_text, target_text, origin, tweet, {_REVIEWED_LINEAGE}, split, cluster
{_JUDGED} WHERE {_AS_THEY_WERE} ON CONFLICT DO NOTHING
"""
_INSERT_EDITED = """
INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, tweet, lineage, split, cluster)
SELECT :new, row.key, row.stage, row.prompt, row.target, row.origin, row.tweet, row.lineage, row.split, row.cluster
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(key text, stage text, prompt text, target text, origin text, tweet text, lineage jsonb, split text, cluster int)
ON CONFLICT DO NOTHING
"""
_INSERT_DROPPED = f"""
INSERT INTO dropped (job, key, dataset, stage, prompt_text, target_text, origin, tweet, lineage, reasons)
SELECT :job, key, :name, stage, prompt_text, target_text, origin, tweet, {_REVIEWED_LINEAGE}, jsonb_build_array(cast(:reason AS text))
{_JUDGED} WHERE verdict = 'rejected' ON CONFLICT DO NOTHING
"""


def apply_review(attempt: JobContext, spec: ReviewedSpec) -> Outcome:
    """Build the dataset `spec.name` of the verdicts on `spec.dataset`.

    Raises:
        UserError: nobody has said anything yet, or nothing to learn from is left.
    """
    with transaction() as connection, session_on(connection) as session:
        dataset = datasets.resolve(session, spec.dataset)
        verdicts = [dict(row._mapping) for row in connection.execute(text(_VERDICTS), {"dataset": dataset.id})]
        if not verdicts:
            raise UserError(f"dataset {spec.dataset}: no example is reviewed yet. `tweetmill review {spec.dataset}` does that")
        given = _as_json(verdicts)
        _load(connection, dataset.id, given)
        counts = dict(connection.execute(text(_COUNTS), {"dataset": dataset.id}).one()._mapping)
        fingerprint = _fingerprint(connection, dataset.id)
    if not counts.pop("train"):
        raise UserError(f"dataset {spec.dataset}: nothing to learn from is left, {counts['rejected']} examples are rejected")
    attempt.check()
    recipe = {**dataset.recipe, "dataset": spec.name, "reviewed": {"dataset": dataset.name, "fingerprint": dataset.fingerprint}}
    return Outcome(
        result={"dataset": spec.name, "fingerprint": fingerprint, "of": dataset.fingerprint, "counts": counts},
        writes=lambda connection: _store(connection, attempt, spec.name, dataset.id, given, recipe, fingerprint),
    )


def _as_json(verdicts: Iterable[dict[str, Any]]) -> str:
    """Return the verdicts as one JSON text."""
    names = {"target_text": "edited", "reviewed_at": "at"}
    rows = [{names.get(name, name): value for name, value in row.items()} for row in verdicts]
    return json.dumps(rows, default=lambda moment: moment.isoformat())


def _load(connection: Connection, dataset: int, given: str) -> None:
    connection.execute(text(_GIVEN), {"dataset": dataset, "rows": given})


def _fingerprint(connection: Connection, dataset: int) -> str:
    """Return the fingerprint of the reviewed dataset. An edit may make two examples one."""
    kept = ((row.split, row.key) for row in _streamed(connection, _MEMBERS, dataset))
    edited = sorted((row.split, _new_key(row)) for row in _streamed(connection, _EDITED, dataset))
    return dataset_fingerprint(heapq.merge(kept, edited))


def _streamed(connection: Connection, query: str, dataset: int) -> Iterator[Row[Any]]:
    options = {"stream_results": True, "yield_per": _ROWS_A_STATEMENT}
    yield from connection.execute(text(query), {"dataset": dataset}, execution_options=options)


def _new_key(row: Row[Any]) -> str:
    return example_key(row.stage, row.prompt, row.edited, row.origin)


def _store(
    connection: Connection, attempt: JobContext, name: str, dataset: int, given: str, recipe: Mapping[str, Any], fingerprint: str
) -> None:
    _load(connection, dataset, given)
    new = claim_name(connection, name, recipe, fingerprint)
    values = {"dataset": dataset, "new": new, "name": name, "job": attempt.job, "reason": REASON}
    connection.execute(text(_INSERT_AS_THEY_WERE), values)
    for rows in _batches(_streamed(connection, _EDITED, dataset)):
        connection.execute(text(_INSERT_EDITED), {"new": new, "rows": json.dumps([_edited(row) for row in rows])})
    connection.execute(text(_INSERT_DROPPED), values)


def _edited(row: Row[Any]) -> dict[str, Any]:
    return {**row._mapping, "key": _new_key(row), "target": row.edited}


def _batches(rows: Iterator[Row[Any]]) -> Iterator[Sequence[Row[Any]]]:
    batch: list[Row[Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_A_STATEMENT:
            yield batch
            batch = []
    if batch:
        yield batch
