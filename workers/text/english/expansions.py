"""Expands what a tweet says without writing the words: codes, signs, units, handles, dates and quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.text.english import places
from workers.text.english.lexicon import COMPASS, MARKS, NUMBERED_PLACES, SAYING, UNITS
from workers.text.tokens import HANDLE, RETWEET, split_hashtag

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_UNIT = re.compile(r"\d\s?([a-z]+(?:/[a-z])?)(?![a-z])", re.IGNORECASE)
_PART_OF_DAY = re.compile(
    r"\b(?:the|in|this|early|every|each|mon|tues?|wed|thurs?|fri|sat|sun|\w+day|tomorrow|tmrw)\s(am|pm)\b", re.IGNORECASE
)
_NUMBERED_PLACE = re.compile(r"\b(ch|pp?|vol|ep|fl|rm|no)\.?\s?\d", re.IGNORECASE)
_COMPASS = re.compile(r"(?<![\w.])[NESW]{0,2}(NE|NW|SE|SW)(?![\w.])")
_MARK_OF_NUMBERS = re.compile(r"[\w)]\s?([=+<>])\s?[\w(]")
_ALWAYS = "$£€¥¢%°"
_NUMBERED = re.compile(r"#\s?\d")
_DATE = re.compile(r"(?<![\d/])(\d{1,2})/(\d{1,2})(?![\d/])")
_QUOTES = re.compile(r"\"[^\"]{3,}\"|@\w+:")
_OF_AIRLINES = ("airline", "airlines", "airways")
_HALVES_OF_HOURS = re.compile(r"(?<!\d)(?:30|60|90|120)\s?(?:m|min|mins|minutes)\b", re.IGNORECASE)


def expansions(tweet: str) -> set[str]:
    """Return the words, in small letters. `tweet` is on one line, with its capitals."""
    return {*places.names(tweet), *_of_marks(tweet), *_of_units(tweet), *_of_handles(tweet), *_of_dates(tweet), *_of_quotes(tweet)}


def _of_marks(tweet: str) -> Iterator[str]:
    there = (
        {mark for mark in _ALWAYS if mark in tweet} | set(_MARK_OF_NUMBERS.findall(tweet)) | ({"#"} if _NUMBERED.search(tweet) else set())
    )
    for mark in there:
        yield from MARKS[mark]


def _of_units(tweet: str) -> Iterator[str]:
    for unit in (*_UNIT.findall(tweet), *_PART_OF_DAY.findall(tweet)):
        yield from UNITS.get(unit.lower(), ())
    for place in _NUMBERED_PLACE.findall(tweet):
        yield from NUMBERED_PLACES[place.lower()]
    for point in _COMPASS.findall(tweet):
        yield from COMPASS[point]
    if _HALVES_OF_HOURS.search(tweet):
        yield from ("hour", "hours")


def _of_handles(tweet: str) -> Iterator[str]:
    """Expand the names of companies in handles: `@SouthwestAir` is Southwest Airlines as well."""
    for handle in HANDLE.findall(tweet):
        words = split_hashtag(handle.lstrip("@＠").rstrip("0123456789_")).lower().split()
        yield from words
        if words and words[-1].endswith("air"):
            yield from _OF_AIRLINES


def _of_dates(tweet: str) -> Iterator[str]:
    for parts in _DATE.findall(tweet):
        yield from (_MONTHS[int(part) - 1] for part in parts if 1 <= int(part) <= len(_MONTHS))


def _of_quotes(tweet: str) -> Iterator[str]:
    if RETWEET.search(tweet) or _QUOTES.search(tweet):
        yield from SAYING
