"""One value at a time: what an id, a text and a date must be before a tweet is made of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime

from producers.sources import dates
from producers.sources.forms import Fields, Line, RefusalError
from schemas.records import Tweet
from workers.text.html import to_text, without_tags

LONGEST_TEXT = 25_000  # characters, X's own limit for long posts
LONGEST_ID = 200
LONGEST_LANG = 35
# How tables write that a cell holds nothing: pandas, R, databases (\\N is MySQL's and Postgres's), spreadsheets, JavaScript.
NOTHING = frozenset({"", "nan", "NaN", "NaT", "None", "null", "NULL", "<NA>", "NA", "N/A", "n/a", "#N/A", "\\N", "undefined"})
WHOLE_MARKUP = re.compile(r"\s*<(?:p|div|span|html)\b[^<>]*>", re.IGNORECASE)
LOST_DIGITS = "the id went through a floating-point number, which keeps 15 digits of it: export it again with the id column as text"
EXACT_BELOW = 2**53  # whole numbers up to here survive a floating-point number
ROUNDED_ID = re.compile(r"[+-]?\d+([.,]\d+)?[eE]\+?\d+")
FLOAT_ID = re.compile(r"(\d+)(?:\.0*|,0{0,2})")
GROUPED_ID = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:(?P<by>[. \u00a0\u202f'’])\d{3})(?:(?P=by)\d{3})+")
# How spreadsheets are made to leave a number alone; the x is rtweet's.
QUOTED_ID = re.compile(r"""(?:['‘’`]|="?|"|x(?=\d{15}))(\d+)["'’]?""")


def line_of(number: int, fields: Fields, source: str) -> Line:
    """What line `number` holds: a tweet without the optional fields that can't be used, or the reason why its text or id can't be."""
    try:
        tweet, unusable = make_tweet(fields, source)
    except RefusalError as refusal:
        return refusal.on(number)
    return Line(number, tweet=tweet, unusable=unusable)


def make_tweet(fields: Fields, source: str) -> tuple[Tweet, tuple[str, ...]]:
    """A tweet from `id`, `text` and, where given, `author`, `lang`, `created_at` and `conversation`; and which of those can't be used.

    Without a key `id` the id is made from the text, so that the same text read twice is the same tweet.
    Raises `RefusalError` where the text or the id can't be used: nothing needs the others.
    """
    text = checked_text(fields.get("text"))
    optional: dict[str, str | datetime | None] = {}
    unusable: list[str] = []
    for name, usable in _OPTIONAL.items():
        value = fields.get(name)
        nothing = value is None or (value in NOTHING if isinstance(value, str) else value in ({}, []))
        optional[name] = None if nothing else usable(value)
        if not nothing and optional[name] is None:
            unusable.append(name)
    tweet_id = checked_id(fields["id"]) if "id" in fields else id_of_text(text)
    return Tweet.model_validate({"id": tweet_id, "text": text, "source": source, **optional}), tuple(unusable)


def checked_text(value: object) -> str:
    """The text of a tweet as it stands, HTML made plain, or a `RefusalError`."""
    if value is None:
        raise RefusalError("text", "the text is missing")
    if not isinstance(value, str):
        raise RefusalError("text", f"the text is {_kind(value)}, not a string")
    text = _without_markup(value) if "<" in value and len(value) <= 4 * LONGEST_TEXT else value
    if not text.strip():
        raise RefusalError("text", "the text is empty")
    if len(text) > LONGEST_TEXT:
        raise RefusalError("text", f"the text has {len(text)} characters, more than {LONGEST_TEXT}")
    check_characters("text", text)
    return text


def _without_markup(value: str) -> str:
    """The text of a post that is HTML from end to end, or of one into which tags came; any other as it stands."""
    if WHOLE_MARKUP.match(value) and value.rstrip().endswith(">"):
        return to_text(value).strip()
    text = without_tags(value)
    return text if text == value else text.strip()


def checked_id(value: object) -> str:
    """The id as a string, or a `RefusalError`. Whole numbers become strings; those that went through a float may have lost digits."""
    if value is None or (isinstance(value, str) and value and value in NOTHING):
        raise RefusalError("id", "the id is missing")
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= EXACT_BELOW:
            raise RefusalError("id", LOST_DIGITS)
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RefusalError("id", f"the id is {_kind(value)}, not a string or a whole number")
    if isinstance(value, int) and value.bit_length() > 3 * LONGEST_ID:
        raise RefusalError("id", f"the id has more than {LONGEST_ID} characters")
    text = str(value).strip()
    if not text:
        raise RefusalError("id", "the id is empty")
    if len(text) > LONGEST_ID:
        raise RefusalError("id", f"the id has {len(text)} characters, more than {LONGEST_ID}")
    check_characters("id", text)
    return _without_traces(text)


def _without_traces(text: str) -> str:
    """An id as it was before a spreadsheet or a floating-point number had it, or a `RefusalError` where that cannot be known."""
    if ROUNDED_ID.fullmatch(text):
        raise RefusalError("id", "the id was rounded by a spreadsheet: export it again with the id column as text")
    if as_float := FLOAT_ID.fullmatch(text):
        if int(as_float.group(1)) >= EXACT_BELOW:
            raise RefusalError("id", LOST_DIGITS)
        return as_float.group(1)
    if GROUPED_ID.fullmatch(text):
        return re.sub(r"\D", "", text)
    quoted = QUOTED_ID.fullmatch(text)
    return quoted.group(1) if quoted else text


def id_of_text(text: str) -> str:
    """A stable id for a text that came without one."""
    return f"sha256-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _usable_string(longest: int) -> Callable[[object], str | None]:
    def usable(value: object) -> str | None:
        value = _single(value)
        if not isinstance(value, str) or len(value) > longest:
            return None
        try:
            check_characters("", value)
        except RefusalError:
            return None
        return value

    return usable


def _usable_id(value: object) -> str | None:
    """The id of an author or of another tweet, or None for what can be none: nothing of the tweet itself is lost without it."""
    try:
        return checked_id(_single(value))
    except RefusalError:
        return None


def _single(value: object) -> object:
    """A list of one is that one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


_OPTIONAL: dict[str, Callable[[object], str | datetime | None]] = {
    "author": _usable_id,
    "lang": _usable_string(LONGEST_LANG),
    "created_at": dates.parsed,
    "conversation": _usable_id,
}


def check_characters(field: str, value: str) -> None:
    """Raise `RefusalError` for what Postgres cannot store or what is no character."""
    if "\x00" in value:
        raise RefusalError(field, f"{field} contains a NUL character, which Postgres cannot store")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RefusalError(field, f"{field} contains half of a surrogate pair, which is no character") from None


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number with a fraction", list: "a list", dict: "an object"}
    return names.get(type(value), "of an unknown type")
