"""Reads pairs that other tools made, row by row in constant memory, from files in the forms of `schemas.forms`.

A row that can't be used costs that row alone: it comes back as a `BadLine` with its place, field and reason, which never quote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.forms import MAPPED, Form, FormError, PromptAndAnswer, read_row
from schemas.synthesis import Columns
from workers.errors import UserError
from workers.files import sha256
from workers.ingest.curated_files import BadLine, CuratedLine, collection_name
from workers.ingest.readers import rows
from workers.ingest.readers.csv_tables import column_of, columns_shown
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.row import Row
from workers.ingest.readers.rows import Reading
from workers.ingest.readers.text import check_text, checked_encoding, field_name
from workers.text.spreadsheets import cell_of
from workers.text.thoughts import split_thoughts

_READING = 2
"""Increased whenever the same file comes to other rows, so that it is imported anew."""

_OWN_KEYS = ("messages", "conversations", "instruction", "output")
_LISTS = ("data", "rows", "train", "examples", "instances", "samples", "items")
"""Under which an object holds rows, where it is none itself."""


def collection(path: Path, form: Form, columns: Columns, encoding: str | None = None, *, strip_instruction: bool = False) -> str:
    """Return the name of the collection of a file's rows: another content, form, mapping, encoding or reading is another collection.

    Raises:
        NotFound: there is no such file.
        UserError: it is a folder, or there is no such encoding.
    """
    if encoding is not None:
        try:
            encoding = checked_encoding(encoding)
        except ValueError as error:
            raise UserError(f"encoding {encoding!r}: {error}") from None
    described = f"{form} {columns.model_dump_json()} {encoding or ''} {'bare' if strip_instruction else ''} {_READING}"
    how = sha256(described)[:8]
    return f"{collection_name(path)}+{how}"


def file_of(collection: str) -> tuple[str, str]:
    """Return the name of the file that a collection came from, and the beginning of its content's sha256."""
    name, _, digest = collection.rpartition(":")
    return name, digest.partition("+")[0]


def read(path: Path, form: Form, columns: Columns, encoding: str | None = None) -> Iterator[CuratedLine | BadLine]:
    """Yield every row of the file: the prompt as `text`, its answer as `summary`, exactly as they stand there.

    JSON in any way that `workers.ingest` reads, for the form csv a table with a header, or Parquet. `key` is the row's place: `line 7` of
    a file of lines, where a row of a table begins, or `item 7` of an array.

    Raises:
        UserError: the file can't be read as a whole, a table lacks a mapped column, or the form has no columns to map.
    """
    if columns != Columns() and form not in MAPPED:
        raise UserError(f"a map is for the forms {' and '.join(MAPPED)}: {form} names its fields itself")
    reading = Reading(lambda names, number: _check(names, number, columns), "table" if form is Form.CSV else "json", encoding)
    position = 0
    try:
        for row in (each for read in rows.read(path, reading) for each in _inside(read, columns)):
            try:
                pair, thoughts = _pair(row, form, columns)
            except RowError as refused:
                yield BadLine.of(row, refused)
                continue
            # Of several on one line each needs a position of its own.
            position = max(position + 1, row.number)
            yield CuratedLine(position, key=row.place, text=pair.prompt, summary=pair.completion, thoughts=thoughts)
    except SourceError as error:
        raise UserError(f"{path}: {error}") from None


def _inside(row: Row, columns: Columns) -> Iterator[Row]:
    """Yield the rows that one object holds, as some tools write a whole file; the row itself where it holds none."""
    value = row.value
    if not isinstance(value, dict) or row.is_table or not value.keys().isdisjoint((*_OWN_KEYS, columns.prompt.partition(".")[0])):
        yield row
        return
    held = next((held for key in _LISTS if isinstance(held := value.get(key), list) and held and isinstance(held[0], dict)), None)
    for item, each in enumerate(held if held is not None else [value], 1):
        inner = each.get("row") if isinstance(each, dict) else None
        yield row._replace(value=inner if isinstance(inner, dict) else each, item=item if held is not None else row.item)


def _check(names: Sequence[str], number: int, columns: Columns) -> None:
    for column in (columns.prompt, columns.completion):
        if column_of(column, names, number) is None:
            advice = "--map prompt=COLUMN,completion=COLUMN says which"
            raise SourceError(f"its first line names no column {column}, but {columns_shown(names)}. {advice}")


def _pair(row: Row, form: Form, columns: Columns) -> tuple[PromptAndAnswer, bool]:
    """Return what the row says, and whether thoughts were taken off its answer."""
    if row.refused is not None:
        raise row.refused
    if not isinstance(row.value, dict):
        raise RowError(None, f"the {row.unit} is JSON but no object")
    try:
        pair = read_row(form, row.value, *_named(row.value, form, columns))
    except FormError as error:
        raise RowError(field_name((error.field,)), error.reason) from None
    if row.is_table:
        pair = PromptAndAnswer(cell_of(pair.prompt), cell_of(pair.completion))
    spoken = split_thoughts(pair.completion)
    if spoken.thought and not spoken.text:
        raise RowError("completion", "the answer is nothing but thoughts")
    if spoken.thought:  # any other is taken to the letter
        pair = PromptAndAnswer(pair.prompt, spoken.text)
    check_text("prompt", pair.prompt)
    check_text("completion", pair.completion)
    return pair, spoken.thought


def _named(row: Mapping[str, Any], form: Form, columns: Columns) -> tuple[str, str]:
    """Return the columns as this row writes them."""
    if form is not Form.CSV or (columns.prompt in row and columns.completion in row):
        return columns.prompt, columns.completion
    names = list(row)
    return column_of(columns.prompt, names, 1) or columns.prompt, column_of(columns.completion, names, 1) or columns.completion
