"""Reads numbers in digits and words, and what they may stand for: `80M` and `eighty million`, `2 dozen` and 24, `7th` and `seventh`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from workers.text.english.lexicon import AMBIGUOUS_NUMBERS, NUMBERS

_TOKEN = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|(?<![\d.])\.\d+|[^\W\d_]+(?:'[^\W\d_]+)*|%")
_BETWEEN = re.compile(r"[ -]?")  # what may stand inside one number

_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_SUFFIXES = {"k": 1000, "grand": 1000, "mil": 10**6, "mn": 10**6, "mio": 10**6, "bn": 10**9, "bil": 10**9}
_SUFFIXES_OR_UNITS = {"m": 10**6, "b": 10**9, "t": 10**12}  # also metres, bytes, tons
_SCALE_FORMS = {form: scale for name, scale in _SCALES.items() for form in (name, f"{name}s", f"{name}th")}
_DECADES = {f"{tens[:-1]}ies": number for tens, number in NUMBERS.items() if tens.endswith("ty")}
_VALUES = {word: int(value) for word, value in NUMBERS.items() if value.isdigit() and word not in (*_SCALES, "once", "twice")}
_SMALL = {"once": "1", "twice": "2", "half": ".5"}
_ONE = ("a", "an")

WORDS = frozenset({*NUMBERS, *_DECADES, *_SCALE_FORMS})
"""Lower-case words that are numbers and nothing else to say."""

# Words of a tweet that say a number without being one, and may be written as one.
_SAID = {
    "couple": "2", "pair": "2", "both": "2", "double": "2", "twins": "2", "trio": "3", "triple": "3", "triplets": "3", "single": "1",
    "decade": "10", "century": "100", "noon": "12", "midnight": "12", "fortnight": "14", "quarter": ".25",
}  # fmt: skip
_PARTS = {word: str(value) for word, value in _VALUES.items()} | _SMALL | _SAID
_CLOCK = re.compile(r"(?<!\d)(\d{1,2}):?(\d\d)?\s?([ap])\.?m\b", re.IGNORECASE)
_CENTURY = re.compile(r"\b(?:1[89]|20)(\d0)'?s\b")
_SHORT_YEAR = re.compile(r"(?<!\w)'(\d\d)\b(?!')")
_RANGE_OF_TENS = re.compile(r"(?<![\d-])([1-9])-([1-9])0(?!\d)")
_AND_HALVES = re.compile(r"(?<![\d.,/])(\d{1,9}(?=\s?½|\s1/2(?!\d)))?\s?(?:½|(?<![\d/])1/2(?![\d/]))")
_PARTS_OF_HOURS = (
    (re.compile(r"\bhalf (?:an )?hour|\bhalf past\b", re.IGNORECASE), "30"),
    (re.compile(r"\bquarter (?:past|after)\b", re.IGNORECASE), "15"),
    (re.compile(r"\bquarter (?:to|before)\b", re.IGNORECASE), "45"),
)


@dataclass(frozen=True)
class Mention:
    """A number as it is written, what it may stand for, and whether it is one word or group of digits."""

    text: str
    values: frozenset[str]
    single: bool


class _Token(NamedTuple):
    text: str
    lower: str
    start: int
    end: int

    @property
    def is_digits(self) -> bool:
        return self.text[0].isdecimal() or self.text[0] == "."


def values(text: str) -> set[str]:
    """Return the values of all numbers in `text`, in every reading: `5k` is 5 and 5000, `3rd` and `third` are 3."""
    found = {value for mention in _mentions(text) for value in mention.values}
    for token in _tokens(text):
        word = token.lower
        if token.is_digits:
            found.add(canonical(word))
        elif word in _PARTS:
            found.add(_PARTS[word])
    return found | _times(text)


def mentions(text: str) -> list[Mention]:
    """Return the numbers that `text` surely names; `first`, `one` or `half` alone may mean none."""
    return [one for one in _mentions(text) if not (one.single and one.text.lower() in AMBIGUOUS_NUMBERS)]


def canonical(digits: str) -> str:
    """Write digits without thousands' commas and without zeros that say nothing."""
    value = digits.replace(",", "")
    if "." in value:
        value = value.rstrip("0").rstrip(".")
    return value.lstrip("0") or "0"


def _times(text: str) -> set[str]:
    """Return what clock times, decades and ranges mean beside their digits: `1230am` is half past 12, `11pm` is 23, `4-50` begins at 40."""
    found = {match.group(1) for match in _CENTURY.finditer(text)}
    found |= {_plain(_decimal(match.group(1) or "0") + Decimal("0.5")) for match in _AND_HALVES.finditer(text)}
    for match in _CLOCK.finditer(text):
        hour = int(match.group(1))
        found |= {str(hour), str(hour % 12 + 12 * (match.group(3).lower() == "p")), canonical(match.group(2) or "0")}
    for match in _SHORT_YEAR.finditer(text):
        found |= {f"20{match.group(1)}", f"19{match.group(1)}"}
    found |= {f"{match.group(1)}0" for match in _RANGE_OF_TENS.finditer(text)}
    return found | {minutes for pattern, minutes in _PARTS_OF_HOURS if pattern.search(text)}


@lru_cache(maxsize=256)
def _tokens(text: str) -> tuple[_Token, ...]:
    return tuple(_Token(match[0], match[0].lower(), match.start(), match.end()) for match in _TOKEN.finditer(text))


def _mentions(text: str) -> list[Mention]:
    tokens = _tokens(text)
    found, place = [], 0
    while place < len(tokens):
        end, read = _number(text, tokens, place)
        if read:
            if end < len(tokens) and tokens[end].text == "%":
                read |= {_plain(Decimal(value) / 100) for value in read}
            found.append(Mention(text[tokens[place].start : tokens[end - 1].end], frozenset(read), end == place + 1))
        place = max(end, place + 1)
    return found


def _number(text: str, tokens: Sequence[_Token], place: int) -> tuple[int, set[str]]:
    """Return where the number that begins at `place` ends, and its values; none where there is no number."""
    first = tokens[place]
    if first.is_digits:
        return _of_digits(text, tokens, place)
    if first.lower in _DECADES:
        return place + 1, {_DECADES[first.lower]}
    if first.lower in _SMALL:
        return _of_half(text, tokens, place) if first.lower == "half" else (place + 1, {_SMALL[first.lower]})
    return _of_words(text, tokens, place)


def _of_digits(text: str, tokens: Sequence[_Token], place: int) -> tuple[int, set[str]]:
    digits = tokens[place].text
    after = tokens[place + 1].lower if _joins(text, tokens, place + 1) else ""
    scale = _SCALE_FORMS.get(after) or _SUFFIXES.get(after)
    if scale:
        return place + 2, {_plain(_decimal(digits) * scale)}
    if after in _SUFFIXES_OR_UNITS:
        return place + 2, {canonical(digits), _plain(_decimal(digits) * _SUFFIXES_OR_UNITS[after])}
    return place + 1, _and_a_half(text, tokens, place + 1, _decimal(digits)) or {canonical(digits)}


def _of_half(text: str, tokens: Sequence[_Token], place: int) -> tuple[int, set[str]]:
    """Read `half a million`, or half alone."""
    end = place + 1 + (_joins(text, tokens, place + 1) and tokens[place + 1].lower in _ONE)
    if _joins(text, tokens, end) and tokens[end].lower in _SCALES:
        return end + 1, {_plain(Decimal(_SCALES[tokens[end].lower]) / 2)}
    return place + 1, {_SMALL["half"]}


def _of_words(text: str, tokens: Sequence[_Token], place: int) -> tuple[int, set[str]]:
    """Read words that make one number as long as they stand together: `two hundred and fifty`, `twenty-first`, `a thousand`."""
    total, current, end = 0, None, place
    while end < len(tokens) and (end == place or _joins(text, tokens, end)):
        word = tokens[end].lower
        if word in _SCALE_FORMS:
            scale = _SCALE_FORMS[word]
            current = (1 if current is None else current) * scale
            if scale >= 1000:
                total, current = total + current, None
        elif word in _VALUES and _follows(_VALUES[word], current):
            current = (current or 0) + _VALUES[word]
        elif not (word == "and" and end > place and tokens[end - 1].lower in _SCALES and _goes_on(text, tokens, end + 1)):
            break
        end += 1
    if end == place:
        return place + 1, set()
    number = Decimal(total + (current or 0))
    return end, _and_a_half(text, tokens, end, number) or {_plain(number)}


def _follows(value: int, current: int | None) -> bool:
    """Whether a word of this value goes on with the number so far: five after twenty or a hundred, not after six."""
    return current is None or (value < 10 and current % 10 == 0 and current % 100 != 10) or (value < 100 and current % 100 == 0)


def _goes_on(text: str, tokens: Sequence[_Token], place: int) -> bool:
    return _joins(text, tokens, place) and tokens[place].lower in _VALUES


def _and_a_half(text: str, tokens: Sequence[_Token], place: int, number: Decimal) -> set[str]:
    """Add a half to a number, where that follows: `two and a half`, `2 hours and a half`."""
    for start in (place, place + 1):
        words = tuple(token.lower for token in tokens[start : start + 3])
        if words == ("and", "a", "half") and all(_joins(text, tokens, at) for at in range(place, start + 3)):
            return {_plain(number + Decimal("0.5"))}
    return set()


def _joins(text: str, tokens: Sequence[_Token], place: int) -> bool:
    """Whether the token at `place` stands right after the one before."""
    return 0 < place < len(tokens) and _BETWEEN.fullmatch(text, tokens[place - 1].end, tokens[place].start) is not None


def _decimal(digits: str) -> Decimal:
    return Decimal(digits.replace(",", ""))


def _plain(value: Decimal) -> str:
    return canonical(format(value, "f"))
