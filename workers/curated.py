"""Files that a person wrote, line by line: curated pairs, references, clean sentences.

A line that can't be used costs that line alone: it comes back as a `BadLine` with its field and reason, which never quote it.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from schemas.records import Pair, Reference, WordReference
from workers import lines
from workers.errors import NotFound, UserError
from workers.lines import LONGEST_TEXT, LineError

Kind = Literal["pairs", "references", "sentences"]
Unit = Literal["line", "item"]

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


@dataclass(frozen=True)
class BadLine:
    """A line that can't be used, and why. `unit` is `item` for those of a JSON array."""

    number: int
    field: str | None
    reason: str
    unit: Unit = "line"

    @property
    def place(self) -> str:
        """Where it stands: the line's number alone, or `item 7`."""
        return str(self.number) if self.unit == "line" else f"{self.unit} {self.number}"


def collection_name(path: Path) -> str:
    """The file's name and the beginning of its content's sha256: another content is another collection.

    Raises:
        NotFound: there is no such file.
        UserError: it is a folder.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file. Paths in a recipe start at the recipe's folder or at the current one")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name one file in it")
    with path.open("rb") as file:
        return f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def read(path: Path, kind: Kind) -> Iterator[CuratedLine | BadLine]:
    """Every line of the file that is not blank, in constant memory.

    Pairs and references are JSON Lines; sentences are plain text, one a line, or a CSV with a column of `SENTENCE_COLUMNS`.

    Raises:
        UserError: a CSV names no such column.
    """
    column = _sentence_column(path) if kind == "sentences" and path.suffix.lower() == ".csv" else None
    for number, content in lines.numbered(path):
        if column is not None and number == 1:
            continue
        try:
            line = lines.decoded(content)
            if line.strip():
                yield _parsed(number, line.strip(), kind, column)
        except LineError as refused:
            yield BadLine(number, refused.field, refused.reason)


def _parsed(number: int, line: str, kind: Kind, column: int | None) -> CuratedLine:
    if kind == "sentences":
        return CuratedLine(number, key="", clean=_sentence(line, column))
    document = _document(line)
    try:
        if kind == "pairs":
            pair = Pair.model_validate(document)
            parsed = CuratedLine(number, key=pair.tweet_id, clean=pair.clean, summary=pair.summary)
        elif "messy" in document and "summary" not in document:
            of_words = WordReference.model_validate(document)
            parsed = CuratedLine(number, key=of_words.id, text=of_words.messy, clean=of_words.clean)
        else:
            reference = Reference.model_validate(document)
            parsed = CuratedLine(number, key=reference.id, text=reference.text, summary=reference.summary)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise LineError(lines.field_name(first["loc"]), first["msg"]) from None
    _check_storable(parsed)
    return parsed


def _document(line: str) -> dict[str, object]:
    # X writes ids as strings, spreadsheets and people as numbers.
    found = lines.document(line)
    return {key: str(value) if key in ("id", "tweet_id") and type(value) is int else value for key, value in found.items()}


def _check_storable(parsed: CuratedLine) -> None:
    for field in ("key", "text", "clean", "summary"):
        lines.check_text(field, getattr(parsed, field) or "")


def _sentence_column(path: Path) -> int:
    content = next(lines.numbered(path), (1, b""))[1]
    try:
        header = next(csv.reader([lines.decoded(content)]), [])
    except (LineError, csv.Error) as error:
        raise UserError(f"{path}, line 1: {error}") from None
    names = [cell.strip().lower() for cell in header]
    for column in SENTENCE_COLUMNS:
        if column in names:
            return names.index(column)
    raise UserError(f"{path}: its first line names no column {' or '.join(SENTENCE_COLUMNS)}: add such a header line")


def _sentence(line: str, column: int | None) -> str:
    sentence = line if column is None else _cell(line, column)
    if sentence.startswith("{"):
        raise LineError(None, "this is JSON, not a sentence: was the file meant as pairs?")
    if len(sentence) > LONGEST_TEXT:
        raise LineError(None, f"the sentence has {len(sentence)} characters, more than {LONGEST_TEXT}")
    return sentence


def _cell(line: str, column: int) -> str:
    try:
        cells = next(csv.reader([line], strict=True))
    except csv.Error:
        raise LineError(None, "a quote is left open or closed in mid-cell: a sentence stands on one line") from None
    if column >= len(cells) or not cells[column].strip():
        raise LineError(None, "the row has no sentence in its column")
    return cells[column].strip()
