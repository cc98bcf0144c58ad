"""Reads files of tweets: yields what each row holds that `workers.ingest.readers` reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from producers.sources.fields import line_of
from producers.sources.lines import Line, RefusalError, SourceError
from producers.sources.names import Names, check_header
from producers.sources.objects import lines_of
from workers.ingest.file_cursor import FileCursor
from workers.ingest.readers import rows
from workers.ingest.readers.containers import STDIN, check_readable
from workers.ingest.readers.csv_tables import column_of
from workers.ingest.readers.row import Row

UNKNOWN = (
    "it holds no tweets in a form that is known: give JSON Lines with `id` and `text`, X API pages, or CSV whose first line names a column "
    "`text`"
)


class FileSource:
    """The tweets of a file, or of anything else that has a path, such as a pipe.

    Args:
        path: where it is.
        name: the source's name that tweets carry; by default the file's without endings.
        names: as in `read`.
        encoding: as in `read`.

    Raises:
        SourceError: there is no such file.
    """

    def __init__(self, path: str, name: str | None = None, names: Names | None = None, encoding: str | None = None) -> None:
        check_readable(path)
        self.origin = path
        # A pipe can't be read again.
        self.cursor = FileCursor(Path(path)) if Path(path).is_file() else None
        self._name, self._names, self._encoding = name, names, encoding

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is a path: any may be one."""
        del address
        return True

    def lines(self, after: int = 0) -> Iterator[Line]:
        """Yield the lines behind a position: see `read`."""
        on_open = self.cursor.watch if self.cursor else None
        return read(self.origin, self._name, after, on_open, self._names, self._encoding)

    def progress(self) -> tuple[int, int] | None:
        """Return how many bytes were read, and the size of the file."""
        return (self.cursor.bytes_read(), Path(self.origin).stat().st_size) if self.cursor else None


def read(
    path: str | Path,
    source: str | None = None,
    skip: int = 0,
    on_open: Callable[[BinaryIO], None] | None = None,
    names: Names | None = None,
    encoding: str | None = None,
) -> Iterator[Line]:
    """Yield the tweets of a file, or of standard input for `-`, in constant memory.

    Args:
        path: JSON, a table with a header, or Parquet; also packed. The ending decides; without a known one the first line does.
        source: the name that tweets carry; by default the file's name without endings, or `stdin`.
        skip: lines that were done before: only tweets of later ones are read. Of a file that is one array: its elements.
        on_open: called with the open file; never for standard input.
        names: how the fields are called, where the table of names does not say it; learns what it finds.
        encoding: of the text, where no mark tells it; by default UTF-8.

    Raises:
        SourceError: at once for what is no file; while reading, for a form that is not known.
    """
    check_readable(path)
    return _read(path, source or name_of(path), skip, on_open, names or Names(), encoding)


def name_of(path: str | Path) -> str:
    """Return the source's name when none is given: `tweets.csv.gz` is `tweets`, `-` is `stdin`."""
    if str(path) == STDIN:
        return "stdin"
    name = rows.without_packing(path)
    return (Path(name).stem or name)[:200]


def _read(
    path: str | Path, source: str, skip: int, on_open: Callable[[BinaryIO], None] | None, names: Names, encoding: str | None
) -> Iterator[Line]:
    reading = rows.Reading(lambda header, number: check_columns(header, number, names), None, encoding, UNKNOWN, on_open)
    yield from lines_of_rows((row for row in rows.read(path, reading) if row.number > skip), source, names)


def lines_of_rows(found: Iterable[Row], source: str, names: Names) -> Iterator[Line]:
    """Yield what each row holds, at its place.

    Args:
        found: rows in the order of their file.
        source: the name that tweets carry.
        names: how the fields are called.
    """
    last = Line(0)
    for row in found:
        for line in _placed(row, last, _lines(row, source, names)):
            yield line
            last = line


def _placed(row: Row, last: Line, found: Iterator[Line]) -> Iterator[Line]:
    """Yield lines at the place of their row. Of several documents on one line, the tweets are counted through."""
    if row.unit == "line" and row.item is None:
        yield from found
        return
    before = (last.item or 1) if row.item is not None and last.number == row.number else 0
    for each in found:
        item = each.item if row.item is None else before + (each.item or 1)
        yield each.at(item, row.unit)


def _lines(row: Row, source: str, names: Names) -> Iterator[Line]:
    if row.refused is not None:
        yield RefusalError(row.refused.field, row.refused.reason).on(row.number)
    elif not row.is_table:
        yield from lines_of(row.value, row.number, source, names)
    else:
        assert isinstance(row.value, dict)
        # A line end in a cell is the tweet's, not that of the system on which the table was written.
        cells = {name: cell.replace("\r\n", "\n") for name, cell in row.value.items()}
        try:
            yield line_of(row.number, names.fields_of(cells), source)
        except RefusalError as refusal:
            yield refusal.on(row.number)


def check_columns(header: Sequence[str], number: int, names: Names) -> None:
    """Raise `SourceError` for columns none of which is the text's, or two of which are one field's."""
    check_header(header, number, names)
    for name in header:
        if name in names.mapped.values() or Names().fields_of({name: name}):
            column_of(name, header, number)


__all__ = ["SourceError", "name_of", "read"]
