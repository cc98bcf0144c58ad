"""Files that people write: curated pairs, references, and clean sentences, one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from producers.sources.fields import check_characters
from producers.sources.forms import RefusalError
from producers.sources.streams import LONGEST_LINE, STDIN, RawLine, check_readable, lines, opened
from schemas.records import Pair, Record, Reference

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class RejectedRow:
    """A row of `file` that was refused. `reason` never quotes the row."""

    file: str
    line: int
    field: str | None
    reason: str


@dataclass(frozen=True)
class Records(Generic[R]):
    """The good rows of a file in its order, and the refused ones."""

    rows: list[R]
    rejected: list[RejectedRow]


@dataclass(frozen=True)
class Sentences:
    """The good lines of a file in its order, and the refused ones."""

    rows: list[str]
    rejected: list[RejectedRow]


def read_pairs(path: str | Path) -> Records[Pair]:
    """Curated pairs, JSON Lines of `{"tweet_id", "clean", "summary"}`; a second pair for a tweet is refused.

    Raises `SourceError` when there is no such file.
    """
    return _read_records(path, Pair, key="tweet_id")


def read_references(path: str | Path) -> Records[Reference]:
    """References to evaluate against, JSON Lines of `{"id", "text", "summary"}`; a second one for an id is refused.

    Raises `SourceError` when there is no such file.
    """
    return _read_records(path, Reference, key="id")


def read_sentences(path: str | Path) -> Sentences:
    """Clean sentences, one a line, plain UTF-8 text.

    Raises `SourceError` when there is no such file.
    """
    rows: list[str] = []
    rejected: list[RejectedRow] = []
    for line in _filled_lines(path):
        try:
            sentence = _decoded(line).strip()
            check_characters("sentence", sentence)
            rows.append(sentence)
        except RefusalError as refusal:
            rejected.append(_rejected(path, line.number, refusal))
    return Sentences(rows, rejected)


def _read_records(path: str | Path, form: type[R], key: str) -> Records[R]:
    rows: list[R] = []
    rejected: list[RejectedRow] = []
    first_lines: dict[str, int] = {}
    for line in _filled_lines(path):
        try:
            record = _record(_decoded(line), form)
            first = first_lines.setdefault(getattr(record, key), line.number)
            if first != line.number:
                raise RefusalError(key, f"line {first} is about the same tweet")
            rows.append(record)
        except RefusalError as refusal:
            rejected.append(_rejected(path, line.number, refusal))
    return Records(rows, rejected)


def _filled_lines(path: str | Path) -> Iterator[RawLine]:
    check_readable(path)
    with opened(path) as stream:
        for line in lines(stream):
            if line.content is None or line.content.strip():
                yield line


def _decoded(line: RawLine) -> str:
    if line.content is None:
        raise RefusalError(None, f"the line is longer than {LONGEST_LINE} bytes")
    try:
        return line.content.decode()
    except UnicodeDecodeError as error:
        raise RefusalError(None, f"the line is not valid UTF-8 at byte {error.start}") from None


def _record(content: str, form: type[R]) -> R:
    try:
        values = json.loads(content)
    except json.JSONDecodeError as error:
        raise RefusalError(None, f"the line is not valid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise RefusalError(None, "the line is not valid JSON: a number is too long or the nesting too deep") from None
    try:
        record = form.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise RefusalError(field, _reason(first["type"], first["msg"])) from None
    for field, value in record:
        if isinstance(value, str):
            check_characters(field, value)
            if not value.strip():
                raise RefusalError(field, f"{field} is empty")
    return record


def _reason(kind: str, message: str) -> str:
    reasons = {
        "missing": "the field is missing",
        "extra_forbidden": "there is no such field",
        "model_type": "the line is JSON but no object",
    }
    return reasons.get(kind, message)


def _rejected(path: str | Path, line: int, refusal: RefusalError) -> RejectedRow:
    name = "stdin" if str(path) == STDIN else Path(path).name
    return RejectedRow(name, line, refusal.field, refusal.reason)
