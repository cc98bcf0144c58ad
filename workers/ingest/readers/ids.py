"""Checks ids, and restores those that a spreadsheet or a printer of numbers changed, where that can be done for certain."""

from __future__ import annotations

import re

from workers.ingest.readers.errors import RowError
from workers.ingest.readers.text import check_characters

LONGEST_ID = 200
# How tables write that a cell holds nothing: pandas, R, databases (\N is MySQL's and Postgres's), spreadsheets, JavaScript.
NOTHING = frozenset({"", "nan", "NaN", "NaT", "None", "null", "NULL", "<NA>", "NA", "N/A", "n/a", "#N/A", "\\N", "undefined"})
LOST_DIGITS = "the id went through a floating-point number, which keeps 15 digits of it: export it again with the id column as text"
EXACT_BELOW = 2**53  # whole numbers up to here survive a floating-point number
ROUNDED_ID = re.compile(r"[+-]?\d+([.,]\d+)?[eE]\+?\d+")
FLOAT_ID = re.compile(r"(\d+)(?:\.0*|,0{0,2})")
GROUPED_ID = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:(?P<by>[. \u00a0\u202f'’])\d{3})(?:(?P=by)\d{3})+")
# How spreadsheets are made to leave a number alone; the x is rtweet's.
QUOTED_ID = re.compile(r"""(?:['‘’`]|="?|"|x(?=\d{15}))(\d+)["'’]?""")
# Twitter's ids in Gnip's activities.
TAGGED_ID = re.compile(r"(?:tag:search\.twitter\.com,\d{4}|id:twitter\.com):(\d+)")


def checked_id(value: object, field: str = "id") -> str:
    """Return the id as a string, or a `RowError`. Whole numbers become strings; those that went through a float may have lost digits."""
    if value is None or (isinstance(value, str) and value and value in NOTHING):
        raise RowError(field, "the id is missing")
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= EXACT_BELOW:
            raise RowError(field, LOST_DIGITS)
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(field, f"the id is {type_in_words(value)}, not a string or a whole number")
    if isinstance(value, int) and value.bit_length() > 3 * LONGEST_ID:
        raise RowError(field, f"the id has more than {LONGEST_ID} characters")
    text = str(value).strip()
    if not text:
        raise RowError(field, "the id is empty")
    if len(text) > LONGEST_ID:
        raise RowError(field, f"the id has {len(text)} characters, more than {LONGEST_ID}")
    check_characters(field, text)
    return _without_traces(text, field)


def _without_traces(text: str, field: str) -> str:
    """Return an id as it was before a spreadsheet or a floating-point number had it, or a `RowError` where that cannot be known."""
    if text.isdecimal() and text.isascii():
        return text  # nearly every one: no mark of what follows is in it
    if ROUNDED_ID.fullmatch(text):
        raise RowError(field, "the id was rounded by a spreadsheet: export it again with the id column as text")
    if as_float := FLOAT_ID.fullmatch(text):
        if int(as_float.group(1)) >= EXACT_BELOW:
            raise RowError(field, LOST_DIGITS)
        return as_float.group(1)
    if GROUPED_ID.fullmatch(text):
        return re.sub(r"\D", "", text)
    quoted = QUOTED_ID.fullmatch(text) or TAGGED_ID.fullmatch(text)
    return quoted.group(1) if quoted else text


def type_in_words(value: object) -> str:
    """Return what a value is, for an error message that does not quote it."""
    names = {bool: "true or false", int: "a number", float: "a number with a fraction", list: "a list", dict: "an object"}
    return names.get(type(value), "of an unknown type")
