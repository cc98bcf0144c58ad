"""Pairs that other tools made, read row by row in constant memory from files in the forms of `schemas.forms`.

A row that can't be used costs that row alone: it comes back as a `BadLine` with its place, field and reason, which never quote it.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from schemas.forms import MAPPED, Form, FormError, PromptAndAnswer, read_row
from schemas.payloads import Columns
from workers import json_array, lines
from workers.curated import BadLine, CuratedLine, Unit, collection_name
from workers.errors import UserError
from workers.lines import LineError
from workers.spreadsheets import cell_of


def collection(path: Path, form: Form, columns: Columns) -> str:
    """The name of the rows of a file: another content, form or mapping is another collection.

    Raises:
        NotFound: there is no such file.
        UserError: it is a folder.
    """
    how = hashlib.sha256(f"{form} {columns.model_dump_json()}".encode()).hexdigest()[:8]
    return f"{collection_name(path)}+{how}"


def file_of(collection: str) -> tuple[str, str]:
    """The name of the file that a collection came from, and the beginning of its content's sha256."""
    name, _, digest = collection.rpartition(":")
    return name, digest.partition("+")[0]


def read(path: Path, form: Form, columns: Columns) -> Iterator[CuratedLine | BadLine]:
    """Every row of the file: the prompt as `text`, its answer as `summary`, exactly as they stand there.

    JSON Lines, one JSON array, or for the form csv a table with a header. `key` is the row's place: `line 7` of a file of lines, where
    a row of a CSV begins, or `item 7` of an array.

    Raises:
        UserError: the header of a CSV lacks a mapped column, or the form has no columns to map.
    """
    if columns != Columns() and form not in MAPPED:
        raise UserError(f"a map is for the forms {' and '.join(MAPPED)}: {form} names its fields itself")
    if form is Form.CSV:
        yield from _table(path, columns)
        return
    unit: Unit = "item" if json_array.is_array(path) else "line"
    contents = enumerate(json_array.elements(path), 1) if unit == "item" else lines.numbered(path)
    for number, content in contents:
        try:
            row = lines.decoded(content)
            if row.strip():
                yield _pair(f"{unit} {number}", number, form, lines.document(row), columns)
        except LineError as refused:
            yield BadLine(number, refused.field, refused.reason, unit)


def _pair(key: str, number: int, form: Form, row: Mapping[str, Any], columns: Columns) -> CuratedLine:
    try:
        pair = read_row(form, row, columns.prompt, columns.completion)
    except FormError as error:
        raise LineError(lines.field_name((error.field,)), error.reason) from None
    if form is Form.CSV:
        pair = PromptAndAnswer(cell_of(pair.prompt), cell_of(pair.completion))
    lines.check_text("prompt", pair.prompt)
    lines.check_text("completion", pair.completion)
    return CuratedLine(number, key=key, text=pair.prompt, summary=pair.completion)


class _CsvLines:
    """The lines of a CSV. `csv.reader` can't be told of a bad one: it goes by, so that the row ends where it should, and is noted."""

    def __init__(self, path: Path) -> None:
        self._lines = lines.numbered(path)
        self.number = 0
        self.refused: LineError | None = None

    def __iter__(self) -> Iterator[str]:
        for number, content in self._lines:
            self.number = number
            try:
                # A byte order mark stands at the beginning of a file; anywhere else it is text.
                body = lines.decoded(content)
                yield body if number == 1 or content is None or not content.startswith(b"\xef\xbb\xbf") else f"\ufeff{body}"
            except LineError as refused:
                self.refused = refused
                yield "\n" if content is None else content.decode(errors="replace")


def _table(path: Path, columns: Columns) -> Iterator[CuratedLine | BadLine]:
    source = _CsvLines(path)
    reader = csv.reader(source)
    header = _header(path, next(reader, []), columns)
    while True:
        first, source.refused = source.number + 1, None
        try:
            cells = next(reader, None)
            if cells is None and source.refused is None:
                return
            if source.refused is not None:
                raise source.refused
            if cells:
                yield _pair(f"line {first}", first, Form.CSV, dict(zip(header, cells, strict=False)), columns)
        except csv.Error as error:
            yield BadLine(first, None, f"the row is not valid CSV: {error}")
        except LineError as refused:
            yield BadLine(first, refused.field, refused.reason)


def _header(path: Path, cells: list[str], columns: Columns) -> list[str]:
    header = [cell.strip() for cell in cells]
    for column in (columns.prompt, columns.completion):
        if column not in header:
            there = ", ".join(header[:20]) or "nothing"
            raise UserError(
                f"{path}: its first line names no column {column}, but {there}. --map prompt=COLUMN,completion=COLUMN says which"
            )
    return header
