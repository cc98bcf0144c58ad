"""Files that a person wrote, line by line: curated pairs, references, clean sentences.

A line that can't be used costs that line alone: it comes back as a `BadLine` with its field and reason, which never quote it.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from schemas.records import Pair, Reference, WordReference
from workers.errors import NotFound, UserError

Kind = Literal["pairs", "references", "sentences"]

SENTENCE_COLUMNS = ("sentence", "clean", "text")
"""The columns of a CSV in which sentences are looked for, the first that is there."""

_LONGEST_LINE = 2**20  # bytes
_LONGEST_TEXT = 25_000  # characters, as for tweets


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
    """A line that can't be used, and why."""

    number: int
    field: str | None
    reason: str


class _LineError(Exception):
    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


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
    for number, content in _lines(path):
        if column is not None and number == 1:
            continue
        try:
            line = _decoded(content)
            if line.strip():
                yield _parsed(number, line.strip(), kind, column)
        except _LineError as refused:
            yield BadLine(number, refused.field, refused.reason)


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None for one that is too long to hold."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            too_long = len(line) == _LONGEST_LINE and not line.endswith(b"\n")
            while too_long and (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield number, None if too_long else line


def _decoded(content: bytes | None) -> str:
    if content is None:
        raise _LineError(None, f"the line is longer than {_LONGEST_LINE} bytes")
    try:
        line = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _LineError(None, f"the line is not valid UTF-8 at byte {error.start}") from None
    if "\x00" in line:
        raise _LineError(None, "the line contains a NUL character, which Postgres cannot store")
    return line


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
        raise _LineError(_field_name(first["loc"]), first["msg"]) from None
    _check_storable(parsed)
    return parsed


def _field_name(location: tuple[int | str, ...]) -> str | None:
    # The name of an unknown field is the file's own text: Postgres must be able to store it.
    name = ".".join(map(str, location))
    return "".join(character for character in name if character.isprintable())[:100] or None


def _document(line: str) -> dict[str, object]:
    try:
        document = json.loads(line)
    except json.JSONDecodeError as error:
        raise _LineError(None, f"the line is not valid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise _LineError(None, "the line is not valid JSON: a number is too long or the nesting too deep") from None
    if not isinstance(document, dict):
        raise _LineError(None, "the line is JSON but no object")
    # X writes ids as strings, spreadsheets and people as numbers.
    return {key: str(value) if key in ("id", "tweet_id") and type(value) is int else value for key, value in document.items()}


def _check_storable(parsed: CuratedLine) -> None:
    for field in ("key", "text", "clean", "summary"):
        value = getattr(parsed, field) or ""
        if len(value) > _LONGEST_TEXT:
            raise _LineError(field, f"the text has {len(value)} characters, more than {_LONGEST_TEXT}")
        if "\x00" in value:
            raise _LineError(field, f"{field} contains a NUL character, which Postgres cannot store")


def _sentence_column(path: Path) -> int:
    content = next(_lines(path), (1, b""))[1]
    try:
        header = next(csv.reader([_decoded(content)]), [])
    except (_LineError, csv.Error) as error:
        raise UserError(f"{path}, line 1: {error}") from None
    names = [cell.strip().lower() for cell in header]
    for column in SENTENCE_COLUMNS:
        if column in names:
            return names.index(column)
    raise UserError(f"{path}: its first line names no column {' or '.join(SENTENCE_COLUMNS)}: add such a header line")


def _sentence(line: str, column: int | None) -> str:
    sentence = line if column is None else _cell(line, column)
    if sentence.startswith("{"):
        raise _LineError(None, "this is JSON, not a sentence: was the file meant as pairs?")
    if len(sentence) > _LONGEST_TEXT:
        raise _LineError(None, f"the sentence has {len(sentence)} characters, more than {_LONGEST_TEXT}")
    return sentence


def _cell(line: str, column: int) -> str:
    try:
        cells = next(csv.reader([line], strict=True))
    except csv.Error:
        raise _LineError(None, "a quote is left open or closed in mid-cell: a sentence stands on one line") from None
    if column >= len(cells) or not cells[column].strip():
        raise _LineError(None, "the row has no sentence in its column")
    return cells[column].strip()
