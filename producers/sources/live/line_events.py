"""Makes events of whole lines: JSON Lines, or the rows of a table whose first line names the columns."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence

from producers.sources.files import UNKNOWN, check_columns, lines_of_rows
from producers.sources.lines import Line
from producers.sources.live.line_splitting import RawLine
from producers.sources.names import Names
from workers.ingest.live import Event, Unusable
from workers.ingest.readers import csv_tables, json_documents, rows, text
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.row import Row, key
from workers.ingest.readers.text import LONGEST_LINE

# A row of a table whose quote stays open waits for its other end no longer than this.
_MOST_OPEN_LINES = 100
_SEPARATOR_LINE = "sep="

CursorAt = Callable[[int, int], str]
"""Returns the cursor behind so many bytes and lines."""


class LineEvents:
    """What the lines of one file or pipe hold.

    Args:
        source: the name that tweets carry.
        names: how the fields are called; learns what it finds.
        encoding: of the lines; None: UTF-8.
        header: the first lines of a table that is read on in its middle, as `preface` returned them.
    """

    def __init__(self, source: str, names: Names, encoding: str | None, header: Sequence[RawLine] = ()) -> None:
        self._source, self._names, self._given = source, names, encoding
        self._encoding = encoding or text.UTF8
        self._is_table: bool | None = None
        self._header: list[tuple[int, str | None]] = []
        self._delimiter: str | None = None
        self._open: list[RawLine] = []
        for line in header:
            self._begin(line)

    @property
    def needs_header(self) -> bool:
        """Whether the lines that say what the file is have not come yet."""
        return self._is_table is None or (self._is_table and self._header_is_open())

    @property
    def held(self) -> RawLine | None:
        """The first line that is held back, since its row may go on; None where none is."""
        return self._open[0] if self._open else None

    def events(self, lines: Iterable[RawLine], cursor_at: CursorAt, *, last: bool = False) -> Iterator[Event]:
        """Yield what lines hold, each event with the cursor from which the rest can be read.

        Args:
            lines: whole ones, in order.
            cursor_at: makes cursors.
            last: nothing comes behind these lines: a quote that is open stays so.

        Raises:
            SourceError: they are in no form that is known.
        """
        taken = [*self._open, *(line for line in lines if not self._begin(line))]
        self._open = [] if last or not self._is_table or self.needs_header else self._open_row(taken)
        done = taken[: len(taken) - len(self._open)]
        if not done:
            return
        places = {line.number: line.start for line in done}
        end = done[-1].end, done[-1].number
        waiting: Line | None = None
        for found in self._found(done):
            if waiting is not None:
                # More of the next line may follow: it is read again.
                yield event_of(waiting, cursor_at(places[found.number], found.number - 1))
            waiting = found
        if waiting is not None:
            yield event_of(waiting, cursor_at(*end))

    def _begin(self, line: RawLine) -> bool:
        """Learn of the first lines what all are; True for a line that is done with it."""
        if not self.needs_header:
            return False
        decoded = "" if line.data is None else _decoded(line.data, self._first_encoding(line))
        if not decoded.strip():
            return True
        if self._is_table is None:
            self._is_table = rows.kind_of(decoded, rows.Reading(self._check, unknown=UNKNOWN)) == "table"
        if self._is_table:
            self._header.append((line.number, decoded))
        return self._is_table

    def _first_encoding(self, line: RawLine) -> str:
        if self._is_table is None:
            self._encoding = text.encoding_of((line.data or b"")[:1024], self._given)
            if self._encoding.startswith(("utf-16", "utf-32")):
                raise SourceError(f"it is {self._encoding.upper()}, which can't be read line by line: iconv -t utf-8 makes it UTF-8")
        return self._encoding

    def _header_is_open(self) -> bool:
        """Whether the line that names the columns is still to come: none came, or only the one that names the separator."""
        return not self._header or (len(self._header) == 1 and str(self._header[0][1]).lower().lstrip('"').startswith(_SEPARATOR_LINE))

    def _check(self, header: Sequence[str], number: int) -> None:
        check_columns(header, number, self._names)

    def _open_row(self, lines: Sequence[RawLine]) -> list[RawLine]:
        """Return the lines at the end that may belong to a row whose quote is still open."""
        row = ""
        whole = 0
        for count, line in enumerate(lines, 1):
            quoted = line.data is not None and b'"' in line.data
            if row or quoted:
                row += _decoded(line.data or b"", self._encoding)
                # A line without a quote closes none.
                row = row if (row and not quoted) or csv_tables.is_open(row, self._separator()) else ""
            if not row:
                whole = count
        rest = list(lines[whole:])
        return rest if len(rest) <= _MOST_OPEN_LINES else []

    def _separator(self) -> str:
        if self._delimiter is None:
            self._delimiter = csv_tables.delimiter_of(self._header, self._check)
        return self._delimiter

    def _found(self, lines: Sequence[RawLine]) -> Iterator[Line]:
        if self._is_table:
            decoded = ((line.number, None if line.data is None else _decoded(line.data, self._encoding)) for line in lines)
            found = csv_tables.rows((*self._header, *decoded), self._check, self._encoding)
            yield from lines_of_rows(found, self._source, self._names)
            return
        for line in lines:
            yield from lines_of_rows(_documents(line, self._encoding), self._source, self._names)


def _documents(line: RawLine, encoding: str) -> Iterator[Row]:
    """Yield the documents on a line; the elements of a list are its items."""
    if line.data is None:
        yield Row(line.number, refused=RowError(None, f"the line is longer than {LONGEST_LINE} bytes"))
        return
    pieces = ((line.number, piece) for _, piece in text.lines(io.BytesIO(line.data), encoding))
    for row in json_documents.rows(pieces, encoding):
        yield row if row.unit == "line" else row._replace(number=line.number, unit="line", item=row.number)


def _decoded(data: bytes, encoding: str) -> str:
    return "".join(piece for _, piece in text.lines(io.BytesIO(data), encoding))


def event_of(line: Line, cursor: str) -> Event:
    """Return what a line of a file holds as an event."""
    if line.rejected is not None:
        place = key(line.number, line.unit, line.item)
        return Event(cursor, rejected=Unusable(place, line.rejected.field, line.rejected.reason))
    return Event(cursor, tweet=line.tweet, notice=line.notice)
