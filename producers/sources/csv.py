"""CSV with a header that names a column of the text, by `producers.sources.names`."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from producers.sources.fields import line_of
from producers.sources.forms import Line, RefusalError
from producers.sources.names import Names, check_header, names_a_text
from producers.sources.streams import RawLine

LONGEST_RECORD = 120_000  # characters, below the csv module's own limit for a field
UNDECODABLE = frozenset(chr(code) for code in range(0xDC80, 0xDD00))


@dataclass(frozen=True)
class Record:
    """The cells that begin on line `number`, or the reason why they could not be told apart."""

    number: int
    cells: list[str]
    refusal: RefusalError | None = None


def is_header(content: bytes, names: Names) -> bool:
    """Whether this line names a column of the text."""
    try:
        return names_a_text(_header(next(csv.reader([_text(content)]), [])), names)
    except csv.Error:
        return False


def read_csv(lines: Iterable[RawLine], source: str, skip: int, names: Names) -> Iterator[Line]:
    """Every tweet or rejection of the records that begin after line `skip`.

    Raises `SourceError` when the header names no column of the text.
    """
    records = _records(lines)
    header = next(records, None)
    if header is None:
        return
    columns = _header(header.cells)
    check_header(columns, header.number, names)
    for record in records:
        if record.number > skip:
            yield _line(record, columns, source, names)


def _line(record: Record, columns: list[str], source: str, names: Names) -> Line:
    if record.refusal:
        return record.refusal.on(record.number)
    if len(record.cells) < len(columns):
        return RefusalError(None, f"the row has {len(record.cells)} columns, the header {len(columns)}").on(record.number)
    row: dict[str, object] = {}
    for name, cell in zip(columns, record.cells, strict=False):
        row.setdefault(name, cell)
    try:
        return line_of(record.number, names.fields_of(row), source)
    except RefusalError as refusal:
        return refusal.on(record.number)


def _header(cells: list[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _text(content: bytes) -> str:
    return content.decode(errors="surrogateescape")


def _records(lines: Iterable[RawLine]) -> Iterator[Record]:
    """Rows, each read by a reader of its own, so that a quote left open costs its own line and not the rest of the file."""
    pending = _Pushback(lines)
    while (first := pending.take()) is not None:
        if first.content is not None and not first.content.strip():
            continue
        taken = [first]
        try:
            cells = next(csv.reader(_until_closed(pending, taken), strict=True))
        except (csv.Error, RefusalError) as error:
            pending.put_back(taken[1:])
            reason = error if isinstance(error, RefusalError) else RefusalError(None, "a quote is left open or closed in mid-cell")
            yield Record(first.number, [], reason)
            continue
        if any(character in UNDECODABLE for cell in cells for character in cell):
            yield Record(first.number, cells, RefusalError(None, "the row is not valid UTF-8"))
        else:
            yield Record(first.number, cells)


def _until_closed(pending: _Pushback, taken: list[RawLine]) -> Iterator[str]:
    size = 0
    line: RawLine | None = taken[0]
    while line is not None:
        size += len(line.content or b"") + 1
        if line.content is None or size > LONGEST_RECORD:
            raise RefusalError(None, f"the row is longer than {LONGEST_RECORD} bytes, or a quote is left open")
        yield _text(line.content) + "\n"
        line = pending.take()
        if line is not None:
            taken.append(line)


class _Pushback:
    """Lines that can be handed back and taken again."""

    def __init__(self, lines: Iterable[RawLine]) -> None:
        self._lines = iter(lines)
        self._returned: deque[RawLine] = deque()

    def take(self) -> RawLine | None:
        return self._returned.popleft() if self._returned else next(self._lines, None)

    def put_back(self, lines: list[RawLine]) -> None:
        self._returned.extendleft(reversed(lines))
