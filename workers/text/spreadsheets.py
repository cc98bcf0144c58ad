"""Escapes the cells of a CSV so that a spreadsheet computes nothing and rounds no id.

A cell that would begin a formula gets an apostrophe in front, which spreadsheets take for "this is text". `cell_of` takes it away
again, so that a file which was written so, and edited, comes back as it was.
"""

from __future__ import annotations

import re

# What a spreadsheet takes for a formula, also in its full-width forms; white space and apostrophes in front don't hinder it.
_FORMULA = re.compile("['\\s]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]")
_CONSTANT = re.compile(r'="((?:[^"]|"")*)"')
# It reads as a number or a date, so it might lose digits or zeros; of a whole number, it keeps fifteen digits.
_NUMERAL = re.compile(r"[\d.,:/+\-eE]+")
_EXACT = re.compile(r"0|[1-9]\d{0,14}")


def harmless(cell: str) -> str:
    """Return the cell as text that a spreadsheet does not compute."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def harmless_id(cell: str) -> str:
    """Return an id as text that a spreadsheet neither computes nor rounds."""
    return f"'{cell}" if _NUMERAL.fullmatch(cell) and not _EXACT.fullmatch(cell) else harmless(cell)


def cell_of(written: str) -> str:
    """Return what `harmless` was given, or what a formula says that is nothing but a text: `="12"`."""
    if constant := _CONSTANT.fullmatch(written):
        return constant[1].replace('""', '"')
    return written[1:] if written.startswith("'") and _FORMULA.match(written[1:]) else written
