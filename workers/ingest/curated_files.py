"""Reads files that a person wrote, line by line: curated pairs, references, clean sentences.

A line that can't be used costs that line alone: it comes back as a `BadLine` with its field and reason, which never quote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from schemas.numbers import LONGEST_POST
from schemas.records import Pair, Reference, WordReference
from workers.errors import NotFound, UserError
from workers.files import sha256_of_file
from workers.ingest.readers import rows
from workers.ingest.readers.csv_tables import column_of, columns_shown
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.ids import checked_id
from workers.ingest.readers.row import Row, Unit, key
from workers.ingest.readers.rows import Reading
from workers.ingest.readers.text import check_text, field_name
from workers.text.spreadsheets import cell_of

Kind = Literal["pairs", "references", "sentences"]

_COLUMNS = {
    "pairs": (("tweet_id", "clean", "summary"),),
    "references": (("id", "text", "summary"), ("id", "messy", "clean")),
}
"""The columns of a table of them: one of these sets."""

SENTENCE_COLUMNS = ("sentence", "clean", "text")
"""The columns of a CSV in which sentences are looked for, the first that is there."""


@dataclass(frozen=True)
class CuratedLine:
    """What line `number` (from 1) of a file says, as table `curated` stores it."""

    number: int
    key: str
    text: str | None = None
    clean: str | None = None
    summary: str | None = None
    other_summaries: tuple[str, ...] = ()
    thoughts: bool = False  # were taken off the answer


@dataclass(frozen=True)
class BadLine:
    """A line that can't be used, and why. `unit` is `item` for those of a JSON array; `item` is the place among several on one line."""

    number: int
    field: str | None
    reason: str
    unit: Unit = "line"
    item: int | None = None

    @classmethod
    def of(cls, row: Row, refused: RowError) -> BadLine:
        """Make one of a row that was refused."""
        return cls(row.number, refused.field, refused.reason, row.unit, row.item)

    @property
    def place(self) -> str:
        """Where it stands: the line's number alone, `item 7`, or `3 item 2`."""
        return key(self.number, self.unit, self.item)


def collection_name(path: Path) -> str:
    """Return the file's name and the beginning of its content's sha256: another content is another collection.

    Raises:
        NotFound: there is no such file.
        UserError: it is a folder.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file. Paths in a recipe start at the recipe's folder or at the current one")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name one file in it")
    return f"{path.name}:{sha256_of_file(path)[:12]}"


def read(path: Path, kind: Kind) -> Iterator[CuratedLine | BadLine]:
    """Yield every line of the file that is not blank, in constant memory.

    Pairs and references are JSON, or tables with columns of the same names; sentences are plain text, one a line, or a table with a column
    of `SENTENCE_COLUMNS`.

    Raises:
        UserError: the file can't be read as a whole, or a table names no such column.
    """
    position = 0
    try:
        for row in _rows(path, kind):
            try:
                parsed = _parsed(row, kind)
            except RowError as refused:
                yield BadLine.of(row, refused)
                continue
            # Of several on one line each needs a position of its own.
            position = max(position + 1, row.number)
            yield CuratedLine(position, *parsed)
    except SourceError as error:
        raise UserError(f"{path}: {error}") from None


def _rows(path: Path, kind: Kind) -> Iterator[Row]:
    is_table = rows.KINDS.get(rows.ending(path)) == "table"
    if kind != "sentences":
        return rows.read(path, Reading(partial(_check_columns, kind), "table" if is_table else "json"))
    if is_table:
        return rows.read(path, Reading(_check_sentences, kind="table"))
    return rows.read_lines(path)


def _check_columns(kind: Kind, names: Sequence[str], number: int) -> None:
    if not any(all(column_of(column, names, number) for column in columns) for columns in _COLUMNS[kind]):
        needed = " or ".join(", ".join(columns) for columns in _COLUMNS[kind])
        raise SourceError(f"line {number} must name the columns {needed}; it names {columns_shown(names)}")


def _check_sentences(names: Sequence[str], number: int) -> None:
    if _sentence_column(names, number) is None:
        raise SourceError(f"line {number} names no column {' or '.join(SENTENCE_COLUMNS)}: add such a header line")


def _sentence_column(names: Sequence[str], number: int = 1) -> str | None:
    return next((found for column in SENTENCE_COLUMNS if (found := column_of(column, names, number))), None)


_Parsed = tuple[str, str | None, str | None, str | None, tuple[str, ...]]
"""Key, text, clean text, summary, and the other summaries of a tweet with several references."""


def _parsed(row: Row, kind: Kind) -> _Parsed:
    if row.refused is not None:
        raise row.refused
    parsed = ("", None, _sentence(row.value), None, ()) if kind == "sentences" else _said(_document(row, kind), kind)
    *texts, others = parsed
    for field, value in [*zip(("key", "text", "clean", "summary"), texts, strict=True), *(("summary", other) for other in others)]:
        check_text(field, value or "")
    return parsed


def _said(document: dict[str, object], kind: Kind) -> _Parsed:
    try:
        if kind == "pairs":
            pair = Pair.model_validate(document)
            return pair.tweet_id, None, pair.clean, pair.summary, ()
        if "messy" in document and "summary" not in document:
            of_words = WordReference.model_validate(document)
            return of_words.id, of_words.messy, of_words.clean, None, ()
        reference = Reference.model_validate(document)
        first, *others = reference.summary
        return reference.id, reference.text, None, first, tuple(others)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[0]
        raise RowError(field_name(found["loc"]), found["msg"]) from None


def _document(row: Row, kind: Kind) -> dict[str, object]:
    found = row.value
    if not isinstance(found, dict):
        raise RowError(None, "it is JSON but no object")
    if row.is_table:
        # Other columns of a sheet are the author's own; cells that are empty say nothing.
        known = {column for columns in _COLUMNS[kind] for column in columns}
        found = {name.casefold(): cell_of(cell) for name, cell in found.items() if name.casefold() in known and cell.strip()}
        if _is_list(found.get("summary", "")):
            raise RowError("summary", "this is a list: a cell holds one text. Write several references into a .jsonl file")
    elif kind == "pairs" and isinstance(found.get("summary"), list):
        raise RowError("summary", "a pair has one summary, which is learnt. Several belong into a file for `evaluate --references`")
    # X writes ids as strings, spreadsheets and people as numbers.
    return {key: checked_id(value, key) if key in ("id", "tweet_id") else value for key, value in found.items()}


def _is_list(cell: str) -> bool:
    """Whether a cell holds a list of texts, as JSON or Python writes it."""
    return cell.startswith(('["', "['")) and cell.endswith(('"]', "']"))


def _sentence(value: object) -> str:
    cell = value if isinstance(value, str) else ""
    if isinstance(value, dict):
        column = _sentence_column(list(value))
        cell = str(value[column] or "") if column else ""
    sentence = " ".join(cell.split()) if "\n" in cell or "\r" in cell else cell.strip()
    if not sentence:
        raise RowError(None, "the row has no sentence in its column")
    if sentence.startswith("{"):
        raise RowError(None, "this is JSON, not a sentence: was the file meant as pairs?")
    if len(sentence) > LONGEST_POST:
        raise RowError(None, f"the sentence has {len(sentence)} characters, more than {LONGEST_POST}")
    return sentence
