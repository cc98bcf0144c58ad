"""The one door to every form of file: find out what it is, then stream its tweets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from producers.sources.csv import is_header, read_csv
from producers.sources.forms import Line, SourceError
from producers.sources.jsonl import OPENINGS, read_json
from producers.sources.names import Names
from producers.sources.streams import STDIN, RawLine, check_readable, lines, opened

READERS = {".csv": read_csv, ".json": read_json, ".jsonl": read_json, ".ndjson": read_json}


def read(
    path: str | Path,
    source: str | None = None,
    skip: int = 0,
    on_open: Callable[[BinaryIO], None] | None = None,
    names: Names | None = None,
) -> Iterator[Line]:
    """Stream the tweets of a file, or of standard input for `-`, in constant memory.

    Args:
        path: JSON Lines, X API v2 pages, v1.1 objects or CSV, each also as `.gz`. The ending decides; without a known one
            the first line does.
        source: the name that tweets carry; by default the file's name without endings, or `stdin`.
        skip: this many lines were done before; tweets of later lines only.
        on_open: gets the open file, whose `tell()` says how far it is read; never called for standard input.
        names: how the fields are called, where the table of names does not say it; learns what it finds.

    Raises:
        SourceError: at once for what is no file; while reading, for a form that is not known.
    """
    check_readable(path)
    return _read(path, source or name_of(path), skip, on_open, names or Names())


def name_of(path: str | Path) -> str:
    """The source's name when none is given: `tweets.csv.gz` is `tweets`, `-` is `stdin`."""
    return "stdin" if str(path) == STDIN else _endings_apart(path)[0][:200]


def _endings_apart(path: str | Path) -> tuple[str, str]:
    """The name without `.gz` and its ending, and the ending in lower case."""
    name = Path(path).name
    if name.lower().endswith(".gz"):
        name = name[:-3]
    return Path(name).stem or name, Path(name).suffix.lower()


def _read(path: str | Path, source: str, skip: int, on_open: Callable[[BinaryIO], None] | None, names: Names) -> Iterator[Line]:
    with opened(path, on_open) as stream:
        reader = READERS.get(_endings_apart(path)[1])
        if reader is not None:
            yield from reader(lines(stream), source, skip, names)
        else:
            yield from _read_unknown(lines(stream), path, source, skip, names)


def _read_unknown(numbered: Iterator[RawLine], path: str | Path, source: str, skip: int, names: Names) -> Iterator[Line]:
    """Let the first line that is not blank tell the form."""
    first = next((line for line in numbered if line.content is None or line.content.strip()), None)
    if first is None:
        return
    every: Iterable[RawLine] = chain([first], numbered)
    if first.content is not None and first.content.strip().startswith(OPENINGS):
        yield from read_json(every, source, skip, names)
    elif first.content is not None and is_header(first.content, names):
        yield from read_csv(every, source, skip, names)
    else:
        where = "standard input" if str(path) == STDIN else str(path)
        raise SourceError(
            f"{where} holds no tweets in a form that is known: give JSON Lines with `id` and `text`, X API pages, "
            "or CSV whose first line names a column `text`"
        )
