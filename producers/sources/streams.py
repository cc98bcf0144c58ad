"""Bytes from a file or standard input as numbered lines, gzip undone, with a bound on what is held in memory."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from producers.sources.forms import SourceError

STDIN = "-"
LONGEST_LINE = 16 * 2**20  # bytes: a page of 100 tweets with its includes is below one MiB
GZIP_MAGIC = b"\x1f\x8b"
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class RawLine:
    """Line `number` (from 1) without its line ending; `content` is None when the line is longer than `LONGEST_LINE`."""

    number: int
    content: bytes | None


@contextmanager
def opened(path: str | Path, on_open: Callable[[BinaryIO], None] | None = None) -> Iterator[BinaryIO]:
    """The bytes of `path`, or of standard input for `-`, decompressed when they begin like gzip.

    `on_open` gets the file as it lies on disk, whose `tell()` says how far it is read.

    Raises `SourceError` when there is no such file, when it is a folder, or when it may not be read.
    """
    if str(path) == STDIN:
        with _decompressed(cast("BufferedReader", sys.stdin.buffer)) as stream:
            yield stream
        return
    check_readable(path)
    with _opened_file(Path(path)) as raw, _decompressed(raw) as stream:
        if on_open is not None:
            on_open(raw)
        yield stream


def _opened_file(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be opened ({error.strerror}): check its permissions") from error


def check_readable(path: str | Path) -> None:
    """Raise `SourceError` unless `path` is `-` or something that can be opened as a file."""
    if str(path) == STDIN:
        return
    if not Path(path).exists():
        raise SourceError(f"{path} does not exist: check the path, or give - to read standard input")
    if Path(path).is_dir():
        raise SourceError(f"{path} is a folder: name one file in it, or pipe them all: cat {path}/*.jsonl | … -")


@contextmanager
def _decompressed(raw: BufferedReader) -> Iterator[BinaryIO]:
    if raw.peek(2)[:2] != GZIP_MAGIC:
        yield raw
        return
    with gzip.open(raw, "rb") as unzipped:
        yield cast("BinaryIO", unzipped)


def lines(stream: BinaryIO) -> Iterator[RawLine]:
    """Every line of `stream`, blank ones included so that numbers are those an editor shows.

    Raises `SourceError` for UTF-16 and for a gzip archive that is damaged.
    """
    number = 0
    try:
        while chunk := stream.readline(LONGEST_LINE + 1):
            number += 1
            if number == 1:
                chunk = _without_bom(chunk)
            if len(chunk) > LONGEST_LINE and not chunk.endswith(b"\n"):
                _skip_rest_of_line(stream)
                yield RawLine(number, None)
            else:
                yield RawLine(number, chunk.rstrip(b"\r\n"))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"the gzip archive is damaged or incomplete after line {number}: fetch it again") from error


def _without_bom(first: bytes) -> bytes:
    if first.startswith(UTF16_BOMS):
        raise SourceError("the file is UTF-16: save it as UTF-8, for instance with `iconv -f UTF-16 -t UTF-8`")
    return first.removeprefix(UTF8_BOM)


def _skip_rest_of_line(stream: BinaryIO) -> None:
    while chunk := stream.readline(LONGEST_LINE):
        if chunk.endswith(b"\n"):
            return
