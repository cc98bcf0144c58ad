"""Checks the fields of a row, and makes a tweet of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from producers.sources import dates
from producers.sources.lines import Fields, Line, RefusalError
from schemas.numbers import LONGEST_POST
from schemas.records import TweetRecord
from workers.files import sha256
from workers.ingest.readers.errors import RowError
from workers.ingest.readers.ids import NOTHING, checked_id, type_in_words
from workers.ingest.readers.text import check_characters
from workers.text.html import to_text, without_tags

LONGEST_LANG = 35
WHOLE_MARKUP = re.compile(r"\s*<(?:p|div|span|html)\b[^<>]*>", re.IGNORECASE)


def line_of(number: int, fields: Fields, source: str) -> Line:
    """Return line `number` as a tweet without optional fields that can't be used, or the reason why text or id can't be."""
    try:
        tweet, unusable = make_tweet(fields, source)
    except RowError as refused:
        return RefusalError(refused.field, refused.reason).on(number)
    return Line(number, tweet=tweet, unusable=unusable)


def make_tweet(fields: Fields, source: str) -> tuple[TweetRecord, tuple[str, ...]]:
    """Make a tweet of `id`, `text` and what there is of `author`, `lang`, `created_at`, `conversation`; return it and the unusable fields.

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
    return TweetRecord.model_validate({"id": tweet_id, "text": text, "source": source, **optional}), tuple(unusable)


def checked_text(value: object) -> str:
    """Return the text of a tweet as it stands, HTML made plain, or a `RefusalError`."""
    if value is None:
        raise RefusalError("text", "the text is missing")
    if not isinstance(value, str):
        raise RefusalError("text", f"the text is {type_in_words(value)}, not a string")
    text = _without_markup(value) if "<" in value and len(value) <= 4 * LONGEST_POST else value
    if not text.strip():
        raise RefusalError("text", "the text is empty")
    if len(text) > LONGEST_POST:
        raise RefusalError("text", f"the text has {len(text)} characters, more than {LONGEST_POST}")
    check_characters("text", text)
    return text


def _without_markup(value: str) -> str:
    """Return the text of a post that is HTML from end to end, or of one into which tags came; any other as it stands."""
    if WHOLE_MARKUP.match(value) and value.rstrip().endswith(">"):
        return to_text(value).strip()
    text = without_tags(value)
    return text if text == value else text.strip()


def id_of_text(text: str) -> str:
    """Return a stable id for a text that came without one."""
    return f"sha256-{sha256(text)[:32]}"


def _usable_string(longest: int) -> Callable[[object], str | None]:
    def usable(value: object) -> str | None:
        value = _single(value)
        if not isinstance(value, str) or len(value) > longest:
            return None
        try:
            check_characters("", value)
        except RowError:
            return None
        return value

    return usable


def _usable_id(value: object) -> str | None:
    """Return the id of an author or of another tweet, or None for what can be none: nothing of the tweet itself is lost without it."""
    try:
        return checked_id(_single(value))
    except RowError:
        return None


def _single(value: object) -> object:
    """Return the only item of a list of one, anything else as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


_OPTIONAL: dict[str, Callable[[object], str | datetime | None]] = {
    "author": _usable_id,
    "lang": _usable_string(LONGEST_LANG),
    "created_at": dates.parse_date,
    "conversation": _usable_id,
}
