"""Imports files that people wrote into the table `curated`: pairs, references and sentences, and pairs that other tools wrote.

Rows go by COPY into a temporary table, and from there into `curated`, where what is known already is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from schemas.forms import Form
from schemas.synthesis import Columns
from workers.database import copy_rows, transaction
from workers.errors import UserError
from workers.ingest import curated_files, pair_files, shared_ends
from workers.ingest.counts import Counts, Reasons
from workers.ingest.curated_files import BadLine, CuratedLine, Kind
from workers.ingest.readers.row import place

_INCOMING_CURATED = (
    "CREATE TEMPORARY TABLE incoming_curated (position int, key text, text text, clean text, summary text, other_summaries jsonb, "
    "field text, reason text) ON COMMIT DROP"
)
_COPY_CURATED = "COPY incoming_curated FROM STDIN"
# What was forgotten does not come back by a file that still has it.
_REFUSE_FORGOTTEN = """
UPDATE incoming_curated SET field = CASE WHEN text IS NULL THEN 'tweet_id' ELSE 'text' END, reason = :reason,
    text = NULL, clean = NULL, summary = NULL, other_summaries = NULL
WHERE reason IS NULL AND EXISTS (SELECT FROM forgotten) AND CASE
    WHEN text IS NULL THEN EXISTS (SELECT FROM forgotten WHERE kind = 'tweet' AND digest = sha256(convert_to(key, 'UTF8')))
    ELSE EXISTS (SELECT FROM forgotten WHERE kind = 'text' AND digest = sha256(convert_to(text, 'UTF8'))) END
"""
_FORGOTTEN = "its tweet was forgotten: `tweetmill forget ID --allow-again` lets it in again"
_INSERT_CURATED = """
INSERT INTO curated (collection, position, key, text, clean, summary, other_summaries)
SELECT :collection, position, key, text, clean, summary, other_summaries FROM incoming_curated WHERE reason IS NULL
ON CONFLICT (collection, position) DO NOTHING
"""
_INSERT_REFUSED = """
INSERT INTO rejected_row (origin, row_key, field, reason)
SELECT :origin, key, field, reason FROM incoming_curated WHERE reason IS NOT NULL ORDER BY position
ON CONFLICT DO NOTHING
"""
_COUNT = "SELECT count(*), count(reason) FROM incoming_curated"


def import_collection(path: Path | str, kind: Kind, on_done: Callable[[Counts], None] | None = None) -> str:
    """Copy a file of pairs, references or sentences into Postgres, so that any worker can read it; return the collection's name.

    The same content is the same collection, imported once. Lines that can't be used are kept in `rejected_row`.

    Args:
        path: the file.
        kind: what its lines are.
        on_done: called with the numbers of lines that were read, new, known already and rejected.

    Raises:
        NotFound: there is no such file.
        UserError: not one line can be used; the first reason is named.
    """
    path = Path(path)
    return _import(path, curated_files.collection_name(path), curated_files.read(path, kind), kind, on_done)


def import_pairs(
    path: Path | str,
    form: Form,
    columns: Columns,
    on_done: Callable[[Counts], None] | None = None,
    encoding: str | None = None,
    *,
    strip_instruction: bool = False,
) -> str:
    """Copy a file of prompts and answers that another tool wrote, as `import_collection`; read in another way it is another collection.

    Separators and stops of older formats that every row has are stripped; with `strip_instruction` so is what every prompt begins with.
    """
    path = Path(path)
    collection = pair_files.collection(path, form, columns, encoding, strip_instruction=strip_instruction)
    strip = partial(shared_ends.strip, strip_instruction=strip_instruction)
    return _import(path, collection, pair_files.read(path, form, columns, encoding), f"rows of {form}", on_done, strip)


def _import(
    path: Path,
    collection: str,
    rows: Iterable[CuratedLine | BadLine],
    what: str,
    on_done: Callable[[Counts], None] | None,
    strip: Callable[[Connection], list[str]] | None = None,
) -> str:
    unit, thoughts = "line", 0
    reasons = Reasons()

    def imported() -> Iterator[tuple[Any, ...]]:
        nonlocal unit, thoughts
        for row in rows:
            if isinstance(row, BadLine):
                unit = row.unit
                reasons.note(place(row.number, row.unit, row.item), row.field, row.reason)
                yield row.number, row.place, None, None, None, None, row.field, row.reason
            else:
                thoughts += row.thoughts
                yield row.number, row.key, row.text, row.clean, row.summary, json.dumps(row.other_summaries), None, None

    with transaction() as connection:
        connection.execute(text(_INCOMING_CURATED))
        copy_rows(connection, _COPY_CURATED, imported())
        remarks = strip(connection) if strip else []
        forgotten = connection.execute(text(_REFUSE_FORGOTTEN), {"reason": _FORGOTTEN}).rowcount
        if forgotten:
            reasons.note(path.name, None, _FORGOTTEN, forgotten)
        read, refused = connection.execute(text(_COUNT)).one()
        inserted = connection.execute(text(_INSERT_CURATED), {"collection": collection}).rowcount
        connection.execute(text(_INSERT_REFUSED), {"origin": str(path)})
    if read == refused:
        raise UserError(_nothing_usable(path, what, f"{refused:,} {unit}s" if refused else None, reasons))
    if thoughts:
        remarks.append(f"A model's thoughts were taken off {thoughts:,} {'answer' if thoughts == 1 else 'answers'}.")
    if on_done is not None:
        counts = Counts(read=read, inserted=inserted, duplicates=read - refused - inserted, rejected=refused, reasons=reasons)
        on_done(replace(counts, remarks=tuple(remarks)))
    return collection


def _nothing_usable(path: Path, what: str, refused: str | None, reasons: Reasons) -> str:
    if refused is None:
        return f"{path}: the file is empty, it holds no {what}"
    return f"{path}: none of {refused} can be used as {what}. {reasons.commonest()}"
