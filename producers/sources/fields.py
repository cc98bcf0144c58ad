"""One value at a time: what an id, a text and a date must be before a tweet is made of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from producers.sources.forms import RefusalError
from schemas.records import Tweet

LONGEST_TEXT = 25_000  # characters, X's own limit for long posts
LONGEST_ID = 200
ROUNDED_ID = re.compile(r"\d([.,]\d+)?[eE]\+?\d+")
DATE_FORMATS = ("%a %b %d %H:%M:%S %z %Y", "%Y-%m-%d %H:%M:%S %z")


def make_tweet(values: Mapping[str, object], source: str) -> Tweet:
    """A tweet from `id`, `text` and, where given, `author`, `lang`, `created_at` and `conversation`.

    Without a key `id` the id is made from the text, so that the same text read twice is the same tweet. A date in a form
    that is not known, such as the ambiguous 2/3/2015, leaves the tweet without one: nothing needs it, the text is what counts.
    Raises `RefusalError` naming the first field that is wrong.
    """
    text = checked_text(values.get("text"))
    return Tweet(
        id=checked_id(values["id"]) if "id" in values else id_of_text(text),
        text=text,
        source=source,
        author=_optional_string(values, "author"),
        lang=_optional_string(values, "lang"),
        created_at=_optional_date(values.get("created_at")),
        conversation=_optional_id(values.get("conversation")),
    )


def checked_text(value: object) -> str:
    """The text of a tweet as it stands, or a `RefusalError`."""
    if value is None:
        raise RefusalError("text", "the text is missing")
    if not isinstance(value, str):
        raise RefusalError("text", f"the text is {_kind(value)}, not a string")
    if not value.strip():
        raise RefusalError("text", "the text is empty")
    if len(value) > LONGEST_TEXT:
        raise RefusalError("text", f"the text has {len(value)} characters, more than {LONGEST_TEXT}")
    check_characters("text", value)
    return value


def checked_id(value: object) -> str:
    """The id as a string, or a `RefusalError`. Whole numbers become strings; numbers with a fraction have lost digits."""
    if value is None:
        raise RefusalError("id", "the id is missing")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RefusalError("id", f"the id is {_kind(value)}, not a string or a whole number")
    text = str(value).strip()
    if not text:
        raise RefusalError("id", "the id is empty")
    if len(text) > LONGEST_ID:
        raise RefusalError("id", f"the id has {len(text)} characters, more than {LONGEST_ID}")
    if ROUNDED_ID.fullmatch(text):
        raise RefusalError("id", "the id was rounded by a spreadsheet: export it again with the id column as text")
    check_characters("id", text)
    return text


def id_of_text(text: str) -> str:
    """A stable id for a text that came without one."""
    return f"sha256-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _optional_string(values: Mapping[str, object], field: str) -> str | None:
    value = values.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RefusalError(field, f"{field} is {_kind(value)}, not a string")
    check_characters(field, str(value))
    return str(value)


def _optional_id(value: object) -> str | None:
    """The id of another tweet, or None for what can be none: nothing of the tweet itself is lost without it."""
    try:
        return checked_id(value)
    except RefusalError:
        return None


def _optional_date(value: object) -> datetime | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise RefusalError("created_at", f"created_at is {_kind(value)}, not a string")
    moment = _parsed_date(value.strip())
    return moment.replace(tzinfo=UTC) if moment and not moment.tzinfo else moment


def _parsed_date(value: str) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        pass
    for form in DATE_FORMATS:
        try:
            return datetime.strptime(value, form).astimezone(UTC)
        except ValueError:
            continue
    return None


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
