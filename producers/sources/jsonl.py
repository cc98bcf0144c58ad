"""JSON, one document a line, or one document that spans the file as an API client's pretty-printer leaves it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from producers.sources.forms import Line, RefusalError, SourceError
from producers.sources.names import Names
from producers.sources.objects import lines_of
from producers.sources.streams import LONGEST_LINE, RawLine

OPENINGS = (b"{", b"[")


def read_json(lines: Iterable[RawLine], source: str, skip: int, names: Names) -> Iterator[Line]:
    """Every tweet or rejection of the lines after `skip`; blank lines are passed over."""
    pending = iter(lines)
    started = False
    for line in pending:
        if line.content is not None and not line.content.strip():
            continue
        if not started and line.content is not None and line.content.strip() in OPENINGS:
            yield from _document(_joined(line, pending), line.number, source, skip, names)
            return
        started = True
        if line.number > skip:
            yield from _line(line, source, names)


def _line(line: RawLine, source: str, names: Names) -> Iterator[Line]:
    if line.content is None:
        yield RefusalError(None, f"the line is longer than {LONGEST_LINE} bytes").on(line.number)
        return
    yield from _document(line.content, line.number, source, 0, names)


def _document(content: bytes, number: int, source: str, skip: int, names: Names) -> Iterator[Line]:
    if number <= skip:
        return
    try:
        document = _parsed(content)
    except RefusalError as refusal:
        yield refusal.on(number)
        return
    yield from lines_of(document, number, source, names)


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError as error:
        raise RefusalError(None, f"the line is not valid UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise RefusalError(None, f"the line is not valid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise RefusalError(None, "the line is not valid JSON: a number is too long or the nesting too deep") from None


def _joined(first: RawLine, rest: Iterator[RawLine]) -> bytes:
    """The whole document, which must fit the bound of a line: memory stays bounded."""
    parts = [first.content or b""]
    size = 0
    for line in rest:
        size += len(line.content or b"") + 1
        if line.content is None or size > LONGEST_LINE:
            raise SourceError("the file is one large JSON document: write it as one object a line, with `jq -c '.[]'`")
        parts.append(line.content)
    return b"\n".join(parts)
