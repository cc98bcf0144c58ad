"""Finds where to go on behind JSON that is not valid: where its brackets are closed, its line ends, or the next element surely begins."""

from __future__ import annotations

import re

_MARKS = re.compile(r'["{}\[\]]')
_STRING_END = re.compile(r'"(?:[^"\\]|\\.)*+"')
_NEXT_ELEMENT = re.compile(r'\}\s*,\s*(?=\{")')
_SCALAR_ENDS = re.compile(r"[,\]\r\n]")
_LINE_ENDS = re.compile(r"[\r\n]")
_INDENT = re.compile(r"[ \t]*")


def open_brackets(text: str, begin: int, end: int, depth: int) -> tuple[int, int | None]:
    """Return how many brackets are open at `end`, with `depth` of them open at `begin`, and where the last of them was closed."""
    place = begin
    while found := _MARKS.search(text, place, end):
        place = found.end()
        if found.group() == '"':
            string = _STRING_END.match(text, found.start(), end)
            if string is None:
                break
            place = string.end()
        else:
            depth += 1 if found.group() in "{[" else -1
        if depth <= 0:
            return depth, place
    return depth, None


def next_element(text: str, begin: int, end: int) -> int | None:
    """Return where an object surely begins behind another one."""
    found = _NEXT_ELEMENT.search(text, begin, end)
    return found.end() if found else None


def end_of_scalar(text: str, place: int) -> int:
    """Return where a number or a word in an array ends."""
    found = _SCALAR_ENDS.search(text, place)
    return found.start() if found else len(text)


def end_of_line(text: str, place: int) -> int:
    """Return where the line ends, without its line end."""
    found = _LINE_ENDS.search(text, place)
    return found.start() if found else len(text)


def next_line(text: str, place: int) -> int:
    """Return where the line ends, with its line end."""
    found = _LINE_ENDS.search(text, place)
    return found.end() if found else len(text)


def indent_of(text: str, place: int) -> int:
    """Return how many blanks stand here."""
    found = _INDENT.match(text, place)
    return found.end() - place if found else 0
