"""Stores a dataset in Postgres: its rows by COPY, ten thousand at a time, so that no statement takes long."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, text

from schemas.synthesis import SynthesisSpec
from workers.catalog.examples.dataset_names import claim_name
from workers.catalog.removal import taken_back
from workers.database import copy_rows, insert_what_stays
from workers.ingest import rejected_rows
from workers.synthesis.row_store import RowStore
from workers.synthesis.rows import DroppedRow, ExampleRow, RejectedPair

T = TypeVar("T")

_ROWS_A_STATEMENT = 10_000

_COLUMNS = "key, stage, prompt_text, target_text, origin, tweet, lineage"
# A part is found by its index: nothing is emptied in between, since a worker may delete nothing anywhere.
_INCOMING = """
CREATE TEMPORARY TABLE {name} (part int, key text, stage text, prompt_text text, target_text text, origin text, tweet text, lineage jsonb,
    split text, cluster int, reasons jsonb) ON COMMIT DROP;
CREATE INDEX ON {name} (part)
"""
_EXAMPLES, _DROPPED = "incoming_example", "incoming_dropped"
_CREATE = {name: _INCOMING.format(name=name) for name in (_EXAMPLES, _DROPPED)}
_COPY = {name: f"COPY {name} FROM STDIN" for name in (_EXAMPLES, _DROPPED)}
# A tweet may have been forgotten since the job read it; of an import without ids the text is what is known of it.
_IS_THERE = """
CASE WHEN tweet IS NULL
    THEN NOT EXISTS (SELECT FROM forgotten WHERE kind = 'text' AND digest = sha256(convert_to({name}.prompt_text, 'UTF8')))
    ELSE EXISTS (SELECT FROM tweet AS source WHERE source.id = {name}.tweet) END
"""
_INSERT_EXAMPLES = f"""
INSERT INTO example (dataset, {_COLUMNS}, split, cluster) SELECT :dataset, {_COLUMNS}, split, cluster FROM incoming_example
WHERE part = :part AND {_IS_THERE.format(name=_EXAMPLES)} ON CONFLICT DO NOTHING
"""  # noqa: S608
_FORGOTTEN = f"""
SELECT stage, split, count(*) AS examples FROM incoming_example
WHERE part = :part AND NOT {_IS_THERE.format(name=_EXAMPLES)} GROUP BY stage, split
"""  # noqa: S608
_INSERT_DROPPED = f"""
INSERT INTO dropped (job, dataset, {_COLUMNS}, reasons) SELECT :job, :dataset, {_COLUMNS}, reasons FROM incoming_dropped
WHERE part = :part AND {_IS_THERE.format(name=_DROPPED)} ON CONFLICT DO NOTHING
"""  # noqa: S608


def store(
    connection: Connection, job: UUID, spec: SynthesisSpec, fingerprint: str, gathered: RowStore, rejected: Iterable[RejectedPair]
) -> None:
    """Store the dataset, its examples, and what did not become one. Rows that exist stay as they are.

    Examples of tweets that were forgotten since they were read are not stored, and count as taken back.
    """
    dataset = claim_name(connection, spec.dataset, spec.model_dump(mode="json"), fingerprint)
    for part in _copied(connection, _EXAMPLES, ((*_cells(row), row.split, row.cluster, None) for row in gathered.kept())):
        insert_what_stays(connection, _INSERT_EXAMPLES, {"dataset": dataset, "part": part})
        gone = connection.execute(text(_FORGOTTEN), {"part": part})
        taken_back.add(connection, dataset, {(row.stage, row.split): row.examples for row in gone})
    keep_refused(connection, job, spec, gathered.dropped, rejected)


def keep_refused(
    connection: Connection, job: UUID, spec: SynthesisSpec, dropped: Iterable[DroppedRow], rejected: Iterable[RejectedPair]
) -> None:
    """Store dropped examples and rejected rows, whether or not there will be a dataset."""
    rows = ((*_cells(each.row), None, None, json.dumps(each.reasons)) for each in dropped)
    for part in _copied(connection, _DROPPED, rows):
        insert_what_stays(connection, _INSERT_DROPPED, {"job": job, "dataset": spec.dataset, "part": part})
    rejected_rows.keep(connection, spec.dataset, ((row.key, row.field, row.reason) for row in rejected), job)


def _copied(connection: Connection, name: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[int]:
    """Copy the rows into a new temporary table of that name; each part's number comes when it is there."""
    connection.execute(text(_CREATE[name]))
    for part, some in enumerate(_parts(rows)):
        copy_rows(connection, _COPY[name], ((part, *cells) for cells in some))
        yield part


def _parts(rows: Iterable[T]) -> Iterator[Iterator[T]]:
    stream = iter(rows)
    while part := list(islice(stream, _ROWS_A_STATEMENT)):
        yield iter(part)


def _cells(row: ExampleRow) -> tuple[Any, ...]:
    tweet = row.lineage.get("tweet_id")
    return row.example_key, row.stage.value, row.prompt_text, row.target_text, row.origin, tweet, json.dumps(row.lineage)
