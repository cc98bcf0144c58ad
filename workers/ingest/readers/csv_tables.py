"""Reads CSV and its kin strictly: a row whose cells are not certain is refused alone, whatever a quote in it would swallow.

The delimiter is the header's: comma, semicolon, tab or pipe. Cost is linear in the bytes: what was read ahead in vain is bounded by what
was read.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from schemas.paths import LONGEST_NAME, names_in
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.row import Row
from workers.ingest.readers.text import UTF8, is_lost, not_valid

LONGEST_RECORD = 120_000  # characters, below the csv module's own limit for a field
DELIMITERS = ",;\t|"
CheckHeader = Callable[[Sequence[str], int], None]
"""Raises `SourceError` for names of columns, and the number of their line, that are not what is needed."""

# Reading ahead for the end of a quoted cell may be in vain: it stops after a number of characters and a multiple of what was read.
_FREE_AHEAD, _AHEAD_FACTOR = 2**20, 16
# How far below a quote that was left open its other end may be taken for one.
_NEAR = 25
# So many lines below a first one that names no columns, some of them may: tools write what was searched for above the header.
_PREAMBLE = 30
_SEP_LINE = re.compile(r'"?sep=(?P<delimiter>[^\r\n])"?', re.IGNORECASE)
_ENDED_WITHIN = "unexpected end of data"  # what the csv module says where lines end within quotes
_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?:,\d{3})+(?!\d)")


def rows(lines: Iterable[tuple[int, str | None]], check: CheckHeader, encoding: str = UTF8) -> Iterator[Row]:
    """Yield every row below the header, its cells by the names of their columns.

    Raises:
        SourceError: the first line that is not blank names no columns that `check` accepts.
    """
    pending = _Pushback(lines)
    header = _Header.read(pending, check)
    if header is None:
        return
    reader = _Reader(pending, header, encoding)
    while (line := pending.take()) is not None:
        row = reader.row(*line)
        if row is not None:
            yield row


def column_of(wanted: str, names: Sequence[str], number: int) -> str | None:
    """Return the column of that name, or of that name in other capitals; None where there is none.

    Raises:
        SourceError: two columns have it.
    """
    found = [name for name in names if name == wanted] or [name for name in names if name.casefold() == wanted.casefold()]
    if len(found) > 1:
        raise SourceError(f"line {number} names the column {wanted} {len(found)} times: give the others another name")
    return found[0] if found else None


def columns_shown(header: Sequence[str]) -> str:
    """Return the names of columns, for an error message: without a header they are a row, which no message may show."""
    if not all(map(_may_be_a_name, header)):
        return "what does not look like names"
    names = [name for name in dict.fromkeys(header) if name]
    several = sum(len(name.split()) > 1 for name in names)
    shown = names_in(dict.fromkeys(name for name in names if len(name.split()) == 1))
    return shown + (f", and {several} of several words" if several else "")


def _may_be_a_name(cell: str) -> bool:
    return len(cell) <= LONGEST_NAME and len(cell.split()) <= 3 and not any(part.isdecimal() for part in cell.split())


def is_header(line: str, check: CheckHeader) -> bool:
    """Whether a line names columns that `check` accepts, or says which character separates those of the next line."""
    if _SEP_LINE.fullmatch(line.rstrip("\r\n")):
        return True
    try:
        _accepted(line, 1, check)
    except SourceError:
        return False
    return True


def delimiter_of(lines: Iterable[tuple[int, str | None]], check: CheckHeader) -> str:
    """Return what separates the cells of a table with these first lines; a comma where none of them names its columns.

    Raises:
        SourceError: the first line that is not blank names no columns that `check` accepts.
    """
    header = _Header.read(_Pushback(lines), check)
    return DELIMITERS[0] if header is None else header.delimiter


def is_open(lines: str, delimiter: str) -> bool:
    """Whether a cell in quotes goes on behind these lines, which are the beginning of a row: only a cell's first quote opens it."""
    try:
        next(csv.reader(lines.splitlines(keepends=True), delimiter=delimiter, strict=True), None)
    except csv.Error as error:
        return _ENDED_WITHIN in str(error)
    return False


class _Pushback:
    """Lines that can be handed back and taken again."""

    def __init__(self, lines: Iterable[tuple[int, str | None]]) -> None:
        self._lines = iter(lines)
        self._returned: deque[tuple[int, str | None]] = deque()

    def take(self) -> tuple[int, str | None] | None:
        return self._returned.popleft() if self._returned else next(self._lines, None)

    def put_back(self, lines: Sequence[tuple[int, str | None]]) -> None:
        self._returned.extendleft(reversed(lines))


class _Header:
    """The columns of a table, and what separates them."""

    def __init__(self, names: list[str], delimiter: str) -> None:
        self.delimiter, self.columns = delimiter, len(names)
        # Where a spreadsheet had empty columns at the end, some rows may lack them.
        self.named = max((at for at, name in enumerate(names, 1) if name), default=len(names))
        # Of columns with one name the first counts: those that are needed are there once.
        self.places = [(name, at) for at, name in enumerate(names) if names.index(name) == at]

    @classmethod
    def read(cls, pending: _Pushback, check: CheckHeader) -> _Header | None:
        """Return the header, below a line `sep=;` where there is one; None for a table without any line."""
        declared: str | None = None
        while (line := pending.take()) is not None:
            number, text = line
            if text is not None and not text.strip():
                continue
            if text is None or len(text) > LONGEST_RECORD:
                raise SourceError(f"line {number} must name the columns: it is longer than {LONGEST_RECORD} characters")
            if declared is None and (match := _SEP_LINE.fullmatch(text.rstrip("\r\n"))):
                declared = match["delimiter"]
                continue
            try:
                return cls(*_accepted(text, number, check, declared))
            except SourceError as refused:
                raise SourceError(f"{refused}{_header_below(pending, check)}") from None
        return None


def _header_below(pending: _Pushback, check: CheckHeader) -> str:
    """Return what to do where a line a little further down names the columns; nothing where none does."""
    for number, text in islice(iter(pending.take, None), _PREAMBLE):
        try:
            names, _ = _accepted(text or "", number, check)
        except SourceError:
            continue
        if len(names) > 1:
            return f". Line {number} does: take off the lines above it, tail -n +{number} FILE > rows.csv, and give that"
    return ""


def _accepted(line: str, number: int, check: CheckHeader, declared: str | None = None) -> tuple[list[str], str]:
    """Return the names of the columns, split where that gives what is needed, else where it gives most."""
    refused: SourceError | None = None
    for names, delimiter in _splits(line, declared):
        try:
            check(names, number)
        except SourceError as error:
            refused = refused or error
        else:
            return names, delimiter
    raise refused or SourceError(f"line {number} must name the columns: a quote in it is left open or closed in mid-cell")


def _splits(line: str, declared: str | None) -> list[tuple[list[str], str]]:
    found: list[tuple[list[str], str]] = []
    for delimiter in declared or DELIMITERS:
        try:
            cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except (csv.Error, TypeError, ValueError):  # it is no character that can separate
            continue
        found.append(([cell.strip() for cell in cells], delimiter))
    return sorted(found, key=lambda split: -len(split[0]))


class _Reader:
    """Rows one by one, each by a reader of its own."""

    def __init__(self, pending: _Pushback, header: _Header, encoding: str) -> None:
        self._pending, self._header, self._encoding = pending, header, encoding
        self._ahead = _FREE_AHEAD
        self._open_since: int | None = None

    def row(self, number: int, line: str | None) -> Row | None:
        """Return what begins on this line; None where that is nothing."""
        if line is None or len(line) > LONGEST_RECORD:
            return Row(number, refused=RowError(None, f"the row is longer than {LONGEST_RECORD} characters"))
        if not line.strip():
            return None
        self._ahead += _AHEAD_FACTOR * len(line)
        try:
            cells = self._cells(number, line)
        except RowError as refused:
            return Row(number, refused=refused)
        if any(map(is_lost, cells)):
            return Row(number, refused=not_valid(self._encoding))
        return Row(number, {name: cells[at] for name, at in self._header.places}, is_table=True)

    def _cells(self, number: int, line: str) -> list[str]:
        if '"' not in line:
            return self._counted(line.rstrip("\r\n").split(self._header.delimiter))
        self._check_closing(number, line)
        taken: list[tuple[int, str | None]] = []
        try:
            cells = next(csv.reader(self._from(line, taken), delimiter=self._header.delimiter, strict=True))
        except (csv.Error, RowError) as error:
            self._give_back(taken)
            if (plain := self._unquoted(line)) is not None:
                return plain
            if line.count('"') % 2:
                self._open_since = number
            if isinstance(error, RowError):
                raise
            raise RowError(None, _reason(line)) from None
        if taken:
            try:
                self._check_continued(number, line, taken, cells)
            except RowError:
                if (plain := self._unquoted(line)) is None:
                    raise
                self._open_since = None
                return plain
        return self._counted(cells)

    def _unquoted(self, line: str) -> list[str] | None:
        """Return the cells of a line between tabs whose quotes are plain characters, as many tools write them; None where they can't be."""
        cells = line.rstrip("\r\n").split(self._header.delimiter)
        plain = self._header.delimiter == "\t" and len(cells) == self._header.columns and '\\"' not in line
        return cells if plain else None

    def _from(self, line: str, taken: list[tuple[int, str | None]]) -> Iterator[str]:
        """Yield the line, and those after it as long as its last cell is open."""
        yield line
        size = len(line)
        while (following := self._pending.take()) is not None:
            taken.append(following)
            size += len(following[1] or "") + 1
            if following[1] is None or size > min(LONGEST_RECORD, self._ahead):
                raise RowError(None, f"a quote is left open, or the row is longer than {LONGEST_RECORD} characters")
            yield following[1]

    def _give_back(self, taken: list[tuple[int, str | None]]) -> None:
        self._ahead -= sum(len(text or "") for _, text in taken)
        self._pending.put_back(taken)

    def _counted(self, cells: list[str]) -> list[str]:
        """As many cells as there are columns; those without a name may lack, and empty ones beyond hold nothing."""
        columns = self._header.columns
        if self._header.named <= len(cells) <= columns:
            return cells + [""] * (columns - len(cells))
        if len(cells) > columns and not any(map(str.strip, cells[columns:])):
            return cells[:columns]
        advice = "" if len(cells) < columns else ": a cell that holds the separator must stand in quotes"
        have = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        raise RowError(None, f"the row has {have}, the header {columns} column{'s' if columns > 1 else ''}{advice}")

    def _check_closing(self, number: int, line: str) -> None:
        """Refuse a line with the other end of a quote that was left open a few lines above: it may belong to that."""
        if self._open_since is None or line.count('"') % 2 == 0:
            return
        since, self._open_since = self._open_since, None
        if number - since <= _NEAR and re.search(rf'[^"]"(?:{re.escape(self._header.delimiter)}|[\r\n]*$)', line):
            raise RowError(None, f"a quote ends here that may be the one left open on line {since}")

    def _check_continued(self, number: int, line: str, taken: list[tuple[int, str | None]], cells: list[str]) -> None:
        """Refuse the first line alone where a quote swallowed rows: the lines under it read as whole rows themselves."""
        within = [text or "" for _, text in taken]
        if sum(text.count('"') for text in [line, *within]) % 2:
            swallowed = True  # one of them opens or closes nothing
        elif len(cells) == self._header.columns:
            # A cell of several lines is what quotes are for: only what looks like rows from first to last is taken for rows.
            swallowed = len(within) > 1 and all(map(self._looks_like_a_row, [line, *within]))
        else:
            swallowed = any(map(self._looks_like_a_row, within))
        if swallowed:
            self._give_back(taken)
            self._open_since = number
            raise RowError(
                None, f"a quote opens here and swallows lines that read as rows, up to line {taken[-1][0]}: write it twice, in quotes"
            )

    def _looks_like_a_row(self, line: str) -> bool:
        """Whether a line has as many cells as the header, separated as machines do it: people put a space after a comma."""
        cells = line.rstrip("\r\n").split(self._header.delimiter)
        tight = not any(cell[:1].isspace() for cell in cells[1:])
        return len(cells) == self._header.columns > 1 and tight and not _THOUSANDS.search(line)


def _reason(line: str) -> str:
    if '\\"' in line:
        return 'a quote in a cell is written as \\", which CSV does not know: write it twice, ""'
    return "a quote is left open or closed in mid-cell"
