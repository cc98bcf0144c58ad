"""Parses the dates of tweets in the forms that dumps have, to UTC; only dates that Python and Postgres can both hold."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

EARLIEST, LATEST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
# Postgres's own bound for offsets.
FURTHEST_OFFSET = timedelta(hours=15, minutes=59, seconds=59)
# An epoch shows in its size: seconds, milliseconds, microseconds or nanoseconds that name a moment of these years.
EPOCH_UNITS = (1, 1e3, 1e6, 1e9)
EPOCH_EARLIEST, EPOCH_LATEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp()
LONGEST_DATE = 60  # characters

_MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_MONTHS = {name[:3]: number for number, name in enumerate(_MONTH_NAMES, 1)}
# The zones of mail's standard, which Twitter's first search API wrote; hours from UTC.
_ZONES = {"UTC": 0, "GMT": 0, "UT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d))?"
_OFFSET = r"(?P<zone>[A-Z]{1,4}|[+-]\d{4})"
# "Tue Mar 03 07:08:09 +0000 2020" of the older API, and "Tue, 03 Mar 2020 07:08:09 GMT" of mail and feeds.
_WORDED = (
    re.compile(rf"[A-Z][a-z]{{2}},? (?P<month>[A-Z][a-z]{{2}}) +(?P<day>\d{{1,2}}) {_CLOCK} (?:{_OFFSET} )?(?P<year>\d{{4}})"),
    re.compile(rf"(?:[A-Z][a-z]{{2}}, )?(?P<day>\d{{1,2}}) (?P<month>[A-Z][a-z]{{2}}) (?P<year>\d{{4}}) {_CLOCK} {_OFFSET}"),
)
# "May 4, 2023 · 12:00:05 PM UTC", "04-May-2023 12:00", "2023/5/4", and the clock first: as pages and people write them, the month told by
# its name or the year at the front.
_DAY = (
    r"(?:[A-Z][a-z]{2,8},? )?(?:(?P<month>[A-Z][a-z]{2,8})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?P<year>\d{4})"
    r"|(?P<day_2>\d{1,2})[ -](?P<month_2>[A-Z][a-z]{2,8})\.?,?[ -](?P<year_2>\d{4})"
    r"|(?P<year_3>(?:19|20)\d\d)(?P<by>[/.])(?P<month_3>\d{1,2})(?P=by)(?P<day_3>\d{1,2}))"
)
_TIME = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d+)?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?(?: ?(?P<zone>UTC|GMT|Z|[+-]\d{4}))?"
)
_WRITTEN = (re.compile(rf"{_DAY}(?:(?:,? at |,? | · |T){_TIME})?"), re.compile(rf"{_TIME}(?: · |,? ){_DAY}"))
_NAMED_ZONE = re.compile(r"\[[A-Za-z_/]+\]$")  # Java's, behind the offset
_ZONE = re.compile(r" ?(UTC|GMT|Z)$")
_SPACED_OFFSET = re.compile(r" ([+-]\d\d:?\d\d)$")
_NUMBER = re.compile(r"\d{9,19}(\.\d+)?|\d\.\d+[eE]\+?\d{1,2}")
_COMPACT = re.compile(r"(?:19|20)\d{12}")


def parse_date(value: object) -> datetime | None:
    """Return the moment that a value means; None where it means none, one that can't be stored, or is ambiguous (2/3/2015)."""
    try:
        moment = _moment(value)
        if moment is None or abs(moment.utcoffset() or timedelta()) > FURTHEST_OFFSET:
            return None
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return moment if EARLIEST <= moment <= LATEST else None


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _of_epoch(value)
    if not isinstance(value, str) or len(value) > LONGEST_DATE:
        return None
    text = value.strip()
    if text[4:5] == "-" and text[:4].isdecimal():  # ISO 8601, as nearly all write it; no other form begins so
        return _of_iso(text)
    if _COMPACT.fullmatch(text):
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    if _NUMBER.fullmatch(text):
        return _of_epoch(float(text))
    for form in _WORDED:
        if match := form.fullmatch(text):
            return _of_words(match)
    for form in _WRITTEN:
        if match := form.fullmatch(text):
            return _as_written(match)
    return _of_iso(text)


def _of_iso(text: str) -> datetime:
    text = _NAMED_ZONE.sub("", text)
    return datetime.fromisoformat(_SPACED_OFFSET.sub(r"\1", _ZONE.sub("+00:00", text)))


def _of_words(match: re.Match[str]) -> datetime:
    numbers = (int(match["year"]), _MONTHS.get(match["month"], 0), int(match["day"]), int(match["hour"]), int(match["minute"]))
    return datetime(*numbers, int(match["second"] or 0), tzinfo=_zone(match["zone"] or "UTC"))


def _as_written(match: re.Match[str]) -> datetime:
    """Return a date with its month in letters, or with its year in front.

    Raises:
        ValueError: there is no such day, month or hour.
    """
    year, month, day = (match[name] or match[f"{name}_2"] or match[f"{name}_3"] for name in ("year", "month", "day"))
    hour = int(match["hour"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("no hour of half a day")
        hour = hour % 12 + (12 if match["half"] in "pP" else 0)
    number = int(month) if month.isdecimal() else next((at for at, name in enumerate(_MONTH_NAMES, 1) if name.startswith(month)), 0)
    return datetime(
        int(year), number, int(day), hour, int(match["minute"] or 0), int(match["second"] or 0), tzinfo=_zone(match["zone"] or "UTC")
    )


def _zone(name: str) -> timezone:
    if name in _ZONES:
        return timezone(timedelta(hours=_ZONES[name]))
    hours, minutes = int(name[1:3]), int(name[3:])
    return timezone(timedelta(hours=hours, minutes=minutes) * (-1 if name[0] == "-" else 1))


def _of_epoch(number: float) -> datetime | None:
    for unit in EPOCH_UNITS:
        if EPOCH_EARLIEST <= number / unit <= EPOCH_LATEST:
            return datetime.fromtimestamp(number / unit, UTC)
    return None
