"""Masks addresses, telephone numbers and handles in an example, in its tweet and its target alike.

| kind   | in the tweet | in the target                                          |
|--------|--------------|--------------------------------------------------------|
| email  | `[email]`    | `[email]`                                              |
| phone  | `[phone]`    | `[phone]`                                              |
| handle | `@user`      | `@user`; `someone` for a name that only the handle said |

`@user` is what published sets of tweets write, and a model is shown it as `someone`. Telephone numbers are found by `phonenumbers`, the
port of Google's libphonenumber: with a country code those of any country, without one those of North America. Ten digits in a row may be
an order or a bag as well, so they count only after a word such as `call` or after another number. A figure that stands right behind a
number, with no word between them, can hide it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from workers.errors import UserError
from workers.text.english.words import foreign_names, foreign_numbers, foreign_words
from workers.text.tokens import HANDLE, LINK

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+\.)+[^\W\d_]{2,}(?![\w-])")

_EMAIL, _PHONE, _USER, _SOMEONE = "[email]", "[phone]", "@user", "someone"
_CUE = re.compile(r"\b(?:call|cell|contact|dial|fax|mobile|phone|number|reach|ring|sms|tel|text|txt|whatsapp)\w*\b", re.IGNORECASE)
_FEWEST_DIGITS = 7
_HOME = "US"  # whose numbers are known without a country code
_ROUNDS = 4


@dataclass(frozen=True)
class Scrubbed:
    """Both texts with placeholders, and how often each kind was replaced in the tweet and the target."""

    prompt: str
    target: str
    counts: dict[str, int]


def scrub(prompt: str, target: str, kinds: Collection[str]) -> Scrubbed:
    """Replace what is of `kinds` (`email`, `phone`, `handle`) in both texts.

    What the target says and only the replaced part of the tweet had said is replaced there too, so that a faithful target stays
    faithful.

    Raises:
        UserError: what finds telephone numbers is not installed here.
    """
    counts: dict[str, int] = {}
    for kind in ("email", "phone", "handle"):
        if kind not in kinds:
            continue
        (clean, found), (answer, also) = _replaced(prompt, target, kind)
        answer, names = _without_lost(prompt, clean, answer, _SOMEONE if kind == "handle" else f"[{kind}]")
        if found + also + names:
            counts[kind] = found + also + names
        prompt, target = clean, answer
    return Scrubbed(prompt, target, counts)


def _replaced(prompt: str, target: str, kind: str) -> tuple[tuple[str, int], tuple[str, int]]:
    """Return both texts without what is of the kind, each with the number of places."""
    if kind == "email":
        return EMAIL.subn(_EMAIL, prompt), EMAIL.subn(_EMAIL, target)
    if kind == "handle":
        return _without_handles(prompt), _without_handles(target)
    both = list(_phones(prompt)), list(_phones(target))
    sure = {phone.number for phones in both for phone in phones if phone.sure}
    return _without_phones(prompt, both[0], sure), _without_phones(target, both[1], sure)


def _without_handles(text: str) -> tuple[str, int]:
    hidden = sum(match.group().lower() != _USER for match in HANDLE.finditer(text))
    return HANDLE.sub(_USER, text), hidden


@dataclass(frozen=True)
class _Phone:
    start: int
    end: int
    number: str
    sure: bool


def _without_phones(text: str, phones: Sequence[_Phone], sure: Collection[str]) -> tuple[str, int]:
    parts, end = [], 0
    hidden = [phone for phone in phones if phone.number in sure]
    for phone in hidden:
        parts += [text[end : phone.start], _PHONE]
        end = phone.end
    return "".join([*parts, text[end:]]), len(hidden)


def _phones(text: str) -> Iterator[_Phone]:
    """Yield what can be dialled, and whether it is surely meant so."""
    if sum(map(str.isdigit, text)) < _FEWEST_DIGITS:
        return
    try:
        from phonenumbers import Leniency, PhoneNumberMatcher
    except ImportError:
        raise UserError("there is no phonenumbers here, which filters.scrub needs: pip install 'tweetmill[gpu]'") from None
    links = [match.span() for match in LINK.finditer(text)]
    earlier = False
    for match in PhoneNumberMatcher(text, _HOME, leniency=Leniency.EXACT_GROUPING):
        within_link = any(first < match.end and match.start < last for first, last in links)
        if within_link or text[: match.start].endswith(("#", "$", "£", "€")):
            continue
        sure = earlier or not match.raw_string.isdigit() or bool(_CUE.search(text[: match.start]))
        yield _Phone(match.start, match.end, f"{match.number.country_code} {match.number.national_number}", sure)
        earlier = earlier or sure


def _without_lost(before: str, after: str, target: str, placeholder: str) -> tuple[str, int]:
    """Return the target without the words that `before` supports and `after` does not; words side by side become one placeholder."""
    if before == after:
        return target, 0
    replaced = 0
    for _ in range(_ROUNDS):  # a word may have been supported together with the one beside it
        lost = _foreign(after, target) - _foreign(before, target)
        if not lost:
            break
        each = "|".join(map(_whole, sorted(lost, key=lambda word: (-len(word), word))))
        target, found = re.subn(rf"(?<!\w)(?:{each})(?!\w)(?:\s+(?:{each})(?!\w))*", placeholder, target)
        replaced += found
        if not found:
            break
    return _capitalised(target), replaced


def _whole(word: str) -> str:
    """Return the word as a pattern; a number with the letters around it, since `7th` and `v7` say the number 7."""
    return rf"[^\W\d]*{re.escape(word)}[^\W\d]*" if word[0].isdigit() else re.escape(word)


def _capitalised(target: str) -> str:
    return target[0].upper() + target[1:] if target.startswith(_SOMEONE) else target


def _foreign(tweet: str, output: str) -> set[str]:
    return {*foreign_names(tweet, output), *foreign_numbers(tweet, output), *foreign_words(tweet, output)}
