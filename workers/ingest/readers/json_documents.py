"""Reads JSON in whatever way its documents are laid out in a file: one a line, one over many lines, one after the other, or as one array.

Byte order marks, record separators (RFC 7464), commas between documents, and the assignment around a document that is a script
(`window.YTD.tweets.part0 = […]`) are passed over. A document that is not valid costs itself. Memory is constant: an array's elements come
one by one, and no document is longer than `LONGEST_LINE`. Cost is linear: the text of a document is decoded anew only when it has doubled.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from workers.ingest.readers.errors import RowError
from workers.ingest.readers.json_decoding import DECODER, LENIENT
from workers.ingest.readers.json_recovery import end_of_line, end_of_scalar, indent_of, next_element, next_line, open_brackets
from workers.ingest.readers.row import Row, Unit
from workers.ingest.readers.text import LONGEST_LINE, UTF8, Piece, is_lost, not_valid

_BETWEEN = re.compile("[\\s,\x1e\ufeff]*")
_BETWEEN_OF_A_SCRIPT = re.compile("[\\s,;\x1e\ufeff]*")
_ASSIGNMENT = re.compile(r"(?:(?:var|let|const)\s+)?[A-Za-z_$][\w.$]*(?:\[[^\]\s]{0,100}\])?\s*=\s*(?=[\[{]|$)")
_LINE: Unit = "line"
_LONGEST_TOKEN = 12  # characters: `-Infinity`, or an escape that the end of a piece cut
# Reading on for the end of a document may be in vain: it stops after _FREE_AHEAD characters and _AHEAD_FACTOR times what was read.
_FREE_AHEAD, _AHEAD_FACTOR = 2**20, 16
_TOO_LONG = f"it is longer than {LONGEST_LINE} characters: write its rows one a line, with jq -c"
# What people take for JSON, by how it begins where JSON ends.
_COMMENT = ": JSON has no comments, take them out"
_NO_JSON = {"//": _COMMENT, "/*": _COMMENT, "#": _COMMENT, "'": ": it may be what Python prints, write it with json.dumps"}
_WHOLE = ("", "\n", "\r\n", "\r")
_OPENINGS = ("{", "[", "\x1e")


def begins_like_json(line: str) -> bool:
    """Whether a file whose first line this is holds JSON."""
    line = line.lstrip("\ufeff \t")
    return line.startswith(_OPENINGS) or _ASSIGNMENT.match(line.strip()) is not None


def rows(pieces: Iterable[Piece], encoding: str = UTF8) -> Iterator[Row]:
    """Return every document as a row. A file that begins with an array is counted by its elements, any other by its lines."""
    return _Scanner(pieces, encoding).rows()


class _InvalidError(Exception):
    """A document that is not valid: why, and up to which character of the text it was looked at."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.reason, self.at = reason, at


class _Scanner:
    """Goes through the text of a file, of which it holds the document at `_place` and what was read with it."""

    def __init__(self, pieces: Iterable[Piece], encoding: str) -> None:
        self._pieces, self._encoding = iter(pieces), encoding
        self._text, self._place = "", 0
        # Where in the text each piece begins, and the number of its line.
        self._starts, self._numbers = [0], [1]
        self._ahead = _FREE_AHEAD
        self._between, self._unit = _BETWEEN, _LINE
        self._in_array = False
        self._counted, self._line, self._item = 0, 0, 0
        self._recovered = False

    def rows(self) -> Iterator[Row]:
        """Yield every document or its refusal."""
        if not self._begin():
            return
        while True:
            yield from self._whole_lines()
            if not self._find_next():
                return
            if self._passes_assignment():
                continue
            mark = self._text[self._place]
            if mark == "[" and self._unit == "item" and not self._in_array:
                self._in_array = True
                self._place += 1
            elif mark == "]" and self._in_array:
                self._in_array = False
                self._place += 1
            elif mark in "]}" and self._recovered:
                self._place += 1  # it closes what was refused
            else:
                yield self._row()

    def _whole_lines(self) -> Iterator[Row]:
        """Yield lines that hold one object each, as most do; stops at the first that doesn't."""
        if self._unit != "line" or self._text[self._place :] not in _WHOLE:
            return
        self._place = len(self._text)
        for number, piece in self._pieces:
            try:
                value, end = DECODER.raw_decode(piece)
            except (ValueError, RecursionError, RowError):
                value, end = None, -1
            if end < 1 or piece[end:] not in _WHOLE or not isinstance(value, dict) or is_lost(piece):
                self._take(number, piece)
                return
            self._ahead += _AHEAD_FACTOR * end
            self._line, self._item = number, 1
            yield Row(number, value)

    def _begin(self) -> bool:
        """Pass over an assignment and see what is counted; False for a file without content."""
        if not self._find_next():
            return False
        if _ASSIGNMENT.match(self._text, self._place):
            self._between = _BETWEEN_OF_A_SCRIPT
            self._passes_assignment()
            self._find_next()
        self._unit = "item" if self._text.startswith("[", self._place) else "line"
        return True

    def _passes_assignment(self) -> bool:
        """Whether an assignment stands here, in a script, and was passed over: parts of an archive follow each other."""
        if self._between is not _BETWEEN_OF_A_SCRIPT or self._in_array:
            return False
        assigned = _ASSIGNMENT.match(self._text, self._place)
        if assigned is not None:
            self._place = assigned.end()
        return assigned is not None

    def _find_next(self) -> bool:
        """Go on to what is not blank; False at the end of the file."""
        while True:
            blank = self._between.match(self._text, self._place)
            assert blank is not None
            self._place = blank.end()
            if self._place < len(self._text):
                return True
            if not self._read():
                return False

    def _read(self) -> bool:
        """Take the next piece for the text that was passed; False at the end of the file."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._take(*piece)
        return True

    def _take(self, number: int, piece: str) -> None:
        self._ahead += _AHEAD_FACTOR * len(piece)
        self._text, self._place = piece, 0
        self._starts, self._numbers = [0], [number]

    def _piece_of(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def _line_of(self, place: int) -> int:
        return self._numbers[self._piece_of(place)]

    def _row(self) -> Row:
        """Return the document at this place, or why it can't be read; go on behind it."""
        line = self._line_of(self._place)
        refused: RowError | None = None
        value: object = None
        try:
            value = self._value()
        except RowError as error:
            refused = error
        number, item = self._counts(line)
        return Row(number, value, refused, self._unit, item)

    def _counts(self, line: int) -> tuple[int, int | None]:
        self._counted += 1
        if self._unit == "item":
            return self._counted, None
        self._item = self._item + 1 if line == self._line else 1
        self._line = line
        return line, self._item if self._item > 1 else None

    def _value(self) -> object:
        try:
            value, end = self._decoded()
        except _InvalidError as invalid:
            line = self._text[self._place : invalid.at + 1]
            refused = not_valid(self._encoding) if is_lost(line) else None
            first = self._line_of(self._place)
            last = self._recover(invalid.at)
            also = f", and lines {first} to {last} are left out with it" if last > first else ""
            raise refused or RowError(None, f"the {self._unit} is not valid JSON: {invalid.reason}{also}") from None
        except RowError:
            self._place = LENIENT.raw_decode(self._text, self._place)[1]
            raise
        begin, self._place = self._place, end
        if end - begin > LONGEST_LINE:
            raise RowError(None, _TOO_LONG)
        if is_lost(self._text[begin:end]):
            raise not_valid(self._encoding)
        return value

    def _decoded(self) -> tuple[object, int]:
        """Return the document and where it ends; reads on as long as it is only incomplete."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if self._is_cut(error) and self._read_on():
                    continue
                raise _InvalidError(self._told(error), min(error.pos, len(self._text))) from None
            except RecursionError:
                raise _InvalidError("the nesting is too deep", self._place) from None
            except ValueError:
                raise RowError(None, f"the {self._unit} is not valid JSON: a number is too long") from None
            # A number may go on in the next piece of a long line.
            if end == len(self._text) and not isinstance(value, (dict, list, str)) and not self._ends_a_line() and self._read_on():
                continue
            return value, end

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether more text could make this valid."""
        if not self._text[error.pos :].strip():
            return True
        return not self._ends_a_line() and (error.msg.startswith("Unterminated") or len(self._text) - error.pos < _LONGEST_TOKEN)

    def _ends_a_line(self) -> bool:
        return self._text.endswith(("\n", "\r"))

    def _read_on(self) -> bool:
        """Read as much again as the document has by now; False at the end of the file, or where that was in vain too often."""
        size = len(self._text) - self._place
        if size > LONGEST_LINE:
            raise _InvalidError(_TOO_LONG, len(self._text))
        if self._ahead < 0:
            return False
        kept = self._piece_of(self._place)
        dropped = self._starts[kept]
        self._starts, self._numbers = [start - dropped for start in self._starts[kept:]], self._numbers[kept:]
        parts = [self._text[dropped:]]
        self._place -= dropped
        length, wanted = len(parts[0]), len(parts[0]) + size
        while length < wanted and (piece := next(self._pieces, None)) is not None:
            self._ahead += _AHEAD_FACTOR * len(piece[1])
            self._starts.append(length)
            self._numbers.append(piece[0])
            parts.append(piece[1])
            length += len(piece[1])
        self._text = "".join(parts)
        return len(parts) > 1

    def _told(self, error: json.JSONDecodeError) -> str:
        """Return what is wrong and where, as an editor counts."""
        at = min(error.pos, max(len(self._text) - 1, 0))
        start = self._starts[self._piece_of(at)]
        line, begun = self._line_of(at), self._line_of(self._place)
        on = f" of line {line}" if line != begun or self._unit == "item" else ""
        hint = next((hint for mark, hint in _NO_JSON.items() if self._text.startswith(mark, at)), "")
        return f"{error.msg.removesuffix(' at')} at column {error.pos - start + 1}{on}{hint}"

    def _recover(self, at: int) -> int:
        """Go on behind a document that is not valid, or where the next one surely begins; the number of the last line left out."""
        self._recovered = True
        begin, line_end = self._place, end_of_line(self._text, self._place)
        line = self._line_of(begin)
        self._ahead -= max(0, at - line_end)
        if self._text[begin] not in '{["':
            end = end_of_scalar(self._text, begin) if self._in_array else line_end
            self._place = max(end, begin + 1)
            return line
        depth, closed = open_brackets(self._text, begin, line_end, 0)
        if closed is not None:
            self._place = closed
        elif not self._in_array and at <= line_end:
            self._place = line_end
        elif self._in_array and (following := next_element(self._text, begin, line_end)) is not None:
            self._place = following
        else:
            return self._skip_lines(line_end, depth, indent_of(self._text, self._starts[self._piece_of(begin)]))
        return line

    def _skip_lines(self, place: int, depth: int, indent: int) -> int:
        """Go on to where all that is open at `place` is closed, or to a line that begins an object no further in than this one did."""
        while True:
            line = self._line_of(place)
            self._place = next_line(self._text, place)
            if self._place == len(self._text) and not self._read():
                return line
            own = indent_of(self._text, self._place)
            if own <= indent and self._text.startswith("{", self._place + own):
                return line
            line_end = end_of_line(self._text, self._place)
            depth, closed = open_brackets(self._text, self._place, line_end, depth)
            if closed is not None:
                self._place = closed
                return self._line_of(closed - 1)
            place = line_end
