"""Reads the rows of any kind of file: opens it, finds out what it is, and yields its rows in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

from workers.ingest.readers import csv_tables, json_documents, parquet, text
from workers.ingest.readers.containers import PARQUET, opened, peeked
from workers.ingest.readers.csv_tables import CheckHeader
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.row import Row

Kind = Literal["json", "table"]
KINDS: dict[str, Kind] = {
    **dict.fromkeys((".csv", ".tsv", ".tab"), "table"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".js"), "json"),
}
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
HYDRATE = "Where there are ids alone, fetch their texts first: twarc2 hydrate IDS > tweets.jsonl"
_MARKUP = ("<?xml", "<rss", "<feed", "<!doctype", "<html")


@dataclass(frozen=True)
class Reading:
    """How a file is to be read.

    Attributes:
        check_header: raises `SourceError` for columns that are not what is needed.
        kind: JSON or a table; None: the file's ending decides where its first line does not say otherwise.
        encoding: of the text, where no mark tells it; None: UTF-8.
        unknown: what is said of a file that is neither.
        on_open: gets the open file, whose `tell()` says how far it is read; never called for standard input.
    """

    check_header: CheckHeader
    kind: Kind | None = None
    encoding: str | None = None
    unknown: str = "it is neither JSON nor a table whose first line names the columns"
    on_open: Callable[[BinaryIO], None] | None = None


def read(path: str | Path, reading: Reading) -> Iterator[Row]:
    """Yield every row of a file, or of standard input for `-`.

    Raises:
        SourceError: it can't be read as a whole.
    """
    with opened(path, reading.on_open) as stream:
        head, stream = peeked(stream)
        if head.startswith(PARQUET):
            yield from parquet.rows(stream)
            return
        encoding = text.encoding_of(head, reading.encoding)
        pieces = text.lines(stream, encoding)
        first = next((piece for piece in pieces if piece[1].strip()), None)
        if first is None:
            return
        kind = reading.kind or _kind_by_name(path, first[1], reading) or kind_of(first[1], reading)
        every: Iterable[text.Piece] = chain([first], pieces)
        if kind == "json":
            yield from json_documents.rows(every, encoding)
        else:
            yield from csv_tables.rows(text.whole_lines(every), reading.check_header, encoding)


def read_lines(path: str | Path) -> Iterator[Row]:
    """Yield every line of a plain text that is not blank, without the white space around it.

    Raises:
        SourceError: it can't be read as a whole.
    """
    with opened(path) as stream:
        head, stream = peeked(stream)
        if head.startswith(PARQUET):
            raise SourceError("it is a Parquet file, not lines of text: write it as CSV")
        for number, line in text.whole_lines(text.lines(stream, text.encoding_of(head, None))):
            if line is None:
                yield Row(number, refused=RowError(None, f"the line is longer than {text.LONGEST_LINE} characters"))
            elif text.is_lost(line):
                yield Row(number, refused=RowError(None, "the line is not valid UTF-8: save the file as UTF-8"))
            elif line.strip():
                yield Row(number, line.strip())


def ending(path: str | Path) -> str:
    """Return the ending of a file's name in lower case, without that of an archive."""
    return Path(without_packing(path)).suffix.lower()


def without_packing(path: str | Path) -> str:
    """Return a file's name without the endings of the archives that it is packed in."""
    name = Path(path).name
    while name.lower().endswith(PACKED) and Path(name).stem:
        name = Path(name).stem
    return name


def _kind_by_name(path: str | Path, line: str, reading: Reading) -> Kind | None:
    """Return what the ending of a name says, unless the first line surely says otherwise."""
    named = KINDS.get(ending(path))
    if named is None or json_documents.begins_like_json(line) == (named == "json"):
        return named
    return "table" if csv_tables.is_header(line, reading.check_header) else "json"


def kind_of(line: str, reading: Reading) -> Kind:
    """Return what the first line of a text that is not blank says of it.

    Raises:
        SourceError: it is neither; says what it looks like.
    """
    if json_documents.begins_like_json(line):
        return "json"
    if csv_tables.is_header(line, reading.check_header):
        return "table"
    if line.lstrip().lower().startswith(_MARKUP):
        raise SourceError("it is XML or HTML, such as a feed or a page: ask its source for JSON or CSV")
    if line.strip().isdecimal():
        raise SourceError(f"its first line is a number and nothing else. {HYDRATE}")
    raise SourceError(reading.unknown)
