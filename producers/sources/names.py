"""Finds the fields of a tweet by the names that dumps give them: one table for the keys of JSON objects and the columns of CSV files.

Of several names that a row has, the first in the table that holds something wins. Ids: strings before numbers, which JavaScript and
spreadsheets round. Texts: whole ones before those that an API cut. Authors: ids before handles, which change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from producers.sources import dates
from producers.sources.lines import Fields, RefusalError, SourceError
from schemas.paths import LONGEST_NAME, names_in, plain_value, value_at
from workers.ingest.readers.csv_tables import column_of, columns_shown
from workers.ingest.readers.rows import HYDRATE

# Capitals, spaces, dashes and underscores make no difference: `Tweet ID`, `tweet-id` and `tweetId` are `tweet_id`.
NAMES: Mapping[str, tuple[str, ...]] = {
    "text": (
        "extended_tweet.full_text", "long_object.body", "note_tweet.text", "note_tweet.note_tweet_results.result.text", "full_text",
        "raw_content", "text", "tweet_text", "tweet_full_text", "original_tweet", "tweet", "tweet_content", "tweet_body", "content", "body",
        "post_text", "post_content", "core.text", "post", "tweets", "rendered_content",
    ),
    "id": (
        "id_str", "tweet_id_str", "status_id_str", "rest_id", "tweet_id", "status_id", "id", "post_id", "ids", "note_tweet_id",
        "uri", "_id", "imported_id",
    ),
    "author": (
        "author_id_str", "author_id", "user_id_str", "user.id_str", "from_user_id_str", "author.id_str", "author.id", "author.did",
        "user.rest_id", "user_id", "from_user_id", "user.id", "account.id", "account_id",
        "author.username", "author.screen_name", "author.handle", "author", "user.screen_name", "user.username", "username",
        "screen_name", "user_screen_name", "user_username", "author_username", "from_user", "handle", "account.acct", "user_name", "user",
        "vertex_1", "actor.id", "actor.preferred_username",
    ),
    "lang": ("lang", "language", "tweet_lang", "tweet_language", "iso_language_code", "langs", "twitter_lang"),
    "created_at": (
        "created_at", "tweet_created_at", "tweet_created", "created_time", "published", "published_at", "posted_at", "datetime",
        "date_time", "date", "timestamp", "timestamp_ms", "created_utc", "created", "tweet_date", "tweet_at", "time", "utc_time",
        "posted_time",
    ),
    "conversation": (
        "conversation_id_str", "conversation_id", "conversation", "in_reply_to_status_id_str", "in_reply_to_status_id",
        "referenced_tweets.replied_to.id", "in_reply_to_tweet_id", "in_reply_to_id", "reply.root.uri",
    ),
}  # fmt: skip
FIELDS = tuple(NAMES)
# Some tools write the path of a flattened key with slashes: author/id.
_SEPARATORS = str.maketrans({"/": ".", **dict.fromkeys("_- \t\u00a0\ufeff\u200b\u200e\u2060")})
# Where a row has no id, the address of a tweet holds it.
_ADDRESSES = ("tweeturl", "tweetlink", "tweetpermalink", "tweetwebsite", "statusurl", "permalink", "permanenturl", "url", "link")
_STATUS = re.compile(r"https?://(?:[a-z]+\.)?(?:twitter|x)\.com/[^/?#]+(?:/web)?/status(?:es)?/(\d{1,25})(?![^/?#])", re.IGNORECASE)
# One plan a set of keys: rows of a file mostly have the same. Wide or odd objects are planned each time, so that memory is bounded.
_PLANS, _WIDEST = 256, 300

FieldPlace = tuple[str, tuple[tuple[str, str], ...]]
"""A key of a row, and the steps below it: as the table writes each, and as names are compared."""

FieldPlaces = Mapping[str, tuple[FieldPlace, ...]]
"""Of each field the places that may hold it, in order."""


@dataclass
class Names:
    """How the fields of a tweet are called in one file: by the table, or as `--map` says.

    Attributes:
        mapped: the paths of `--map`, by field; they win over the table.
        found: the fields whose mapped path led to something in a row at least.
        seen: the keys of the first row, for complaints.
    """

    mapped: Mapping[str, str] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)
    seen: str | None = None

    def fields_of(self, row: Mapping[str, object]) -> Fields:
        """Return the values of the fields that a row has, nothing checked yet. A field without a key is left out.

        Raises:
            RefusalError: the text or the id is not where `--map` says.
        """
        if self.seen is None:
            self.seen = names_in(row)
        fields = {name: _chosen(name, row, places) for name, places in _plan_of(row).items() if name not in self.mapped}
        for name, path in self.mapped.items():
            value = value_at(row, path)
            if value is not None:
                self.found.add(name)
                fields[name] = value
            elif name in ("text", "id"):
                raise RefusalError(name, f"there is no {path}, which --map names for the {name}: the row's keys are {names_in(row)}")
        if "id" not in fields and (of_address := _id_in_address(row)) is not None:
            fields["id"] = of_address
        return fields

    def holds_text(self, row: Mapping[str, object]) -> bool:
        """Whether the text is where `--map` says; False where it says nothing of it."""
        return "text" in self.mapped and value_at(row, self.mapped["text"]) is not None

    def text_in(self, row: object) -> object:
        """Return what the row has by a name of the text, whatever it is."""
        places = _plan_of(row).get("text") if isinstance(row, Mapping) else None
        return _chosen("text", row, places) if places and isinstance(row, Mapping) else None

    def not_found(self) -> Mapping[str, str]:
        """Return the mapped paths that led nowhere in any row, by field."""
        return {name: path for name, path in self.mapped.items() if name not in self.found}


def names_a_text(header: Sequence[str], names: Names) -> bool:
    """Whether one of these columns holds the tweets' text."""
    if "text" in names.mapped:
        return names.mapped["text"] in header
    return "text" in _planned(tuple(header))


def check_header(header: Sequence[str], number: int, names: Names) -> None:
    """Raise `SourceError` for columns none of which is the text's, or not those that were mapped. Capitals make no difference."""
    shown = columns_shown(header)
    columns: dict[str, str] = {}
    for name, path in names.mapped.items():
        column = column_of(path, header, number)
        if column is None:
            raise SourceError(f"line {number} names no column {path}, which --map says is the {name}: its columns are {shown}")
        columns[name] = column
    names.mapped = columns
    if not names_a_text(header, names):
        advice = "add such a header line, or say with `--map text=COLUMN` which column holds it"
        advice += f". {HYDRATE}" if len(header) < 4 and "id" in _planned(tuple(header)) else ""
        raise SourceError(f"line {number} must name the columns, one of them `text`; it names {shown}: {advice}")


def plain_name(name: str) -> str:
    """Return a name as names are compared. One that begins with an underscore is a database's own, such as `_id`."""
    plain = name.translate(_SEPARATORS).lower().removesuffix("(utc)")
    return f"_{plain}" if name.startswith("_") else plain


@lru_cache(4096)
def _cached_plain(name: str) -> str:
    return plain_name(name)


_ORDER = {name: [tuple((step, plain_name(step)) for step in path.split(".")) for path in paths] for name, paths in NAMES.items()}


def _plan_of(row: Mapping[str, object]) -> FieldPlaces:
    keys = tuple(row)
    if len(keys) > _WIDEST or sum(map(len, keys)) > 20 * _WIDEST:
        return _planned.__wrapped__(keys)
    return _planned(keys)


@lru_cache(_PLANS)
def _planned(keys: tuple[str, ...]) -> FieldPlaces:
    there: dict[str, str] = {}
    for key in keys:
        there.setdefault(plain_name(key), key)
    plan: dict[str, tuple[FieldPlace, ...]] = {}
    for name, paths in _ORDER.items():
        places: list[FieldPlace] = []
        for (_, first), *below in paths:
            # `user.screen_name` may be a column of that name, or a key in an object.
            flat = ".".join((first, *(plain for _, plain in below)))
            if below and flat in there:
                places.append((there[flat], ()))
            if first in there:
                places.append((there[first], tuple(below)))
        if places:
            plan[name] = tuple(places)
    return plan


def _chosen(name: str, row: Mapping[str, object], places: Sequence[FieldPlace]) -> object:
    """Return the first value that is something: for a date one that can be read, else text or a number rather than an object."""
    empty: object = None
    other: object = None
    is_text = name != "created_at" or len(places) == 1  # with one place there is nothing to choose by what can be read
    for key, below in places:
        value = row[key]
        if is_text and not below and isinstance(value, str) and value and not value.isspace():
            return value
        value = plain_value(value)
        for step in below:
            value = _inner(value, step)
        if isinstance(value, (str, dict, list)) and (not value.strip() if isinstance(value, str) else not value):
            empty = value if empty is None else empty
        elif value is not None and name == "created_at":
            moment = dates.parse_date(value)
            if moment is not None:
                return moment
            other = value if other is None else other
        elif value is not None and not isinstance(value, (dict, list)):
            return value
        elif value is not None:
            other = value if other is None else other
    return empty if other is None else other


def _id_in_address(row: Mapping[str, object]) -> str | None:
    """Return the id in the address of a tweet."""
    if len(row) > _WIDEST:
        return None
    by_name = {_cached_plain(key): value for key, value in row.items() if len(key) <= LONGEST_NAME}
    found = (_STATUS.match(value) for name in _ADDRESSES if isinstance(value := by_name.get(name), str))
    return next((address[1] for address in found if address), None)


def _inner(value: object, step: tuple[str, str]) -> object:
    if not isinstance(value, dict):
        return None
    written, plain = step
    if written in value:
        return plain_value(value[written])
    if len(value) > _WIDEST:
        return None
    return plain_value(next((inner for key, inner in value.items() if len(key) <= LONGEST_NAME and _cached_plain(key) == plain), None))
