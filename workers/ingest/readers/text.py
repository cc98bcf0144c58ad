"""Decodes bytes into numbered lines: the encoding by its mark or as it was given, the line ends of every system, a bound on what is held.

A byte that the encoding doesn't know becomes a mark that no text has, so that it costs its row and not the file.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, cast

from schemas.numbers import LONGEST_POST
from workers.ingest.readers.errors import DamagedError, RowError, SourceError

LONGEST_PIECE = 2**18  # characters: a longer line comes in pieces of this length
LONGEST_LINE = 16 * 2**20  # characters: a page of 100 tweets with its includes is below one MiB

UTF8 = "utf-8"
Piece = tuple[int, str]
"""The number of a line from 1, and the line with its end; a line that is longer than `LONGEST_PIECE` comes as several."""

_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_UNMARKED = (
    (re.compile(rb"(?:[^\0]\0){4}"), "utf-16-le"),
    (re.compile(rb"(?:\0[^\0]){4}"), "utf-16-be"),
    (re.compile(rb"(?:[^\0]\0\0\0){2}"), "utf-32-le"),
    (re.compile(rb"(?:\0\0\0[^\0]){2}"), "utf-32-be"),
)
# What is called latin-1 is mostly Windows-1252, as browsers take it: the controls that latin-1 has for these bytes stand in no text.
_LATIN1 = "iso8859-1"
_CONTROLS = re.compile("[\x80-\x9f]")
_OF_WINDOWS = {byte: known for byte in range(0x80, 0xA0) if (known := bytes([byte]).decode("cp1252", errors="ignore"))}
_LINE_END = re.compile(rb"[\r\n]")
_LOST = re.compile("[\ud800-\udfff]")
_ERRORS = "tweetmill-marked"


def _marked(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error(_ERRORS, _marked)


def checked_encoding(name: str) -> str:
    """Return the name of an encoding of text, as Python has it.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        found = None
    if found is None or not found._is_text_encoding or found.name in ("idna", "punycode", "undefined"):
        raise ValueError("there is no text encoding of that name: utf-8, utf-16, latin-1, cp1252, shift_jis, gb18030 are some")
    return found.name


def lines(stream: BinaryIO, encoding: str = UTF8) -> Iterator[Piece]:
    """Yield every line of `stream` with its end, blank ones included, so that numbers are those an editor shows.

    LF, CRLF and a lone CR each end a line. A byte order mark is left out.

    Raises:
        SourceError: the bytes are not in that encoding at all, or an archive around them is damaged.
    """
    text = io.TextIOWrapper(cast("io.BufferedReader", stream), encoding, errors=_ERRORS, newline="")
    number = 1
    try:
        while piece := text.readline(LONGEST_PIECE):
            if len(piece) == LONGEST_PIECE and piece.endswith("\r"):
                piece += text.readline(1)  # a CRLF must not be read as two ends
            if encoding == _LATIN1 and _CONTROLS.search(piece):
                piece = piece.translate(_OF_WINDOWS)
            if number == 1:
                piece = piece.removeprefix("\ufeff")
            yield number, piece
            number += piece.endswith(("\n", "\r"))
    except DamagedError as error:
        raise SourceError(f"{error}. Line {number - 1} is the last that was read") from error
    except UnicodeError as error:
        raise SourceError(f"it can't be read as {encoding}: name another encoding") from error
    finally:
        with suppress(ValueError):  # it was closed before the last line was taken
            text.detach()


def whole_lines(pieces: Iterable[Piece]) -> Iterator[tuple[int, str | None]]:
    """Yield lines, each in one: None for one that is longer than `LONGEST_LINE`."""
    parts: list[str] = []
    size = 0
    number = 1
    for number, piece in pieces:
        if not parts and not size and piece.endswith(("\n", "\r")):
            yield number, piece
            continue
        size += len(piece)
        if size <= LONGEST_LINE:
            parts.append(piece)
        if piece.endswith(("\n", "\r")):
            yield number, "".join(parts) if size <= LONGEST_LINE else None
            parts, size = [], 0
    if size:
        yield number, "".join(parts) if size <= LONGEST_LINE else None


def is_lost(text: str) -> bool:
    """Whether some of its bytes were not valid in the encoding."""
    return not text.isascii() and _LOST.search(text) is not None


def not_valid(encoding: str) -> RowError:
    """Return why a row with such bytes is refused."""
    advice = (
        "save the file as UTF-8, or name its encoding where --encoding is taken: --encoding latin-1, which is Windows-1252 too"
        if encoding.startswith(UTF8)
        else "is it another?"
    )
    return RowError(None, f"the row is not valid {encoding.removesuffix('-sig').upper()}: {advice}")


def encoding_of(head: bytes, given: str | None) -> str:
    """Return the encoding of a text: by its mark, as it was given, or UTF-8.

    Raises:
        SourceError: the bytes are no text, or the mark contradicts the one that was given.
    """
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if marked is not None:
        if given is not None and not given.replace("_", "-").startswith(marked.removesuffix("-sig")):
            raise SourceError(
                f"it begins with the mark of {marked.removesuffix('-sig').upper()}, so it is not {given}: leave --encoding out"
            )
        return marked
    unmarked = next((name for pattern, name in _UNMARKED if pattern.match(head)), None)
    if given is not None:
        # Of an encoding whose mark would tell the order of bytes, the bytes themselves tell it.
        return unmarked if unmarked is not None and unmarked.startswith(given) else given
    first = _LINE_END.split(head, maxsplit=1)[0]
    if unmarked is not None:
        raise SourceError(f"it looks like {unmarked.upper()} without the mark that says so: give --encoding {unmarked}")
    if b"\0" in first:
        raise SourceError("it is not text but of a kind that is not known: give JSON Lines or CSV")
    return UTF8


def field_name(location: tuple[int | str, ...]) -> str | None:
    """Return the name of a field that a file chose, as Postgres can store it."""
    name = ".".join(map(str, location))
    return "".join(character for character in name if character.isprintable())[:100] or None


def check_text(field: str, value: str) -> None:
    """Whether Postgres can store a text and a model be shown it.

    Raises:
        RowError: it is too long, or holds a NUL or half a character.
    """
    if len(value) > LONGEST_POST:
        raise RowError(field, f"the text has {len(value)} characters, more than {LONGEST_POST}")
    check_characters(field, value)


def check_characters(field: str, value: str) -> None:
    """Whether Postgres can store a text, and it is one.

    Raises:
        RowError: it holds a NUL or half a character.
    """
    if "\x00" in value:
        raise RowError(field, f"{field} contains a NUL character, which Postgres cannot store")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(field, f"{field} contains half of a character (a lone surrogate), which is no text") from None
