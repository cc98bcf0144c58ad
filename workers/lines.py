"""Files line by line, in constant memory: what a line must be before anybody asks what it means.

The reasons never quote a line, and never need to: its number finds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

LONGEST_LINE = 2**20  # bytes
LONGEST_TEXT = 25_000  # characters, as for tweets


class LineError(Exception):
    """A line that can't be used: the field at fault, where one is, and the reason."""

    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


def numbered(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file from 1, with their ends; None for one that is too long to hold."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            too_long = len(line) == LONGEST_LINE and not line.endswith(b"\n")
            while too_long and (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield number, None if too_long else line


def decoded(content: bytes | None) -> str:
    """The text of a line, without a byte order mark.

    Raises:
        LineError: it is too long, not UTF-8, or holds what Postgres can't store.
    """
    if content is None:
        raise LineError(None, f"the line is longer than {LONGEST_LINE} bytes")
    try:
        line = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LineError(None, f"the line is not valid UTF-8 at byte {error.start}") from None
    if "\x00" in line:
        raise LineError(None, "the line contains a NUL character, which Postgres cannot store")
    return line


def document(line: str) -> dict[str, object]:
    """The JSON object that a line is.

    Raises:
        LineError: it is none.
    """
    try:
        parsed = json.loads(line)
    except json.JSONDecodeError as error:
        raise LineError(None, f"the line is not valid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise LineError(None, "the line is not valid JSON: a number is too long or the nesting too deep") from None
    if not isinstance(parsed, dict):
        raise LineError(None, "the line is JSON but no object")
    return parsed


def field_name(location: tuple[int | str, ...]) -> str | None:
    """The name of a field that a file chose, as Postgres can store it."""
    name = ".".join(map(str, location))
    return "".join(character for character in name if character.isprintable())[:100] or None


def check_text(field: str, value: str) -> None:
    """Whether Postgres can store a text and a model be shown it.

    Raises:
        LineError: it is too long, or holds a NUL or half a character.
    """
    if len(value) > LONGEST_TEXT:
        raise LineError(field, f"the text has {len(value)} characters, more than {LONGEST_TEXT}")
    if "\x00" in value:
        raise LineError(field, f"{field} contains a NUL character, which Postgres cannot store")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise LineError(field, f"{field} contains half of a character (a lone surrogate), which is no text") from None
