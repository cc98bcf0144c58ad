"""Normalises texts to find duplicates, and selects clean sentences that can be targets."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable

from workers.text.stable_patterns import STABLE_LINK, STABLE_RETWEET
from workers.text.tokens import EMOJI, HANDLE

LONGEST_SUMMARY = 15  # words, as the output constraints say
NOT_WORDS = re.compile(r"[\W_]+")
SECTION = re.compile(r"\s+[|–—]\s+[^|–—]*$")  # headlines end in the section or the author
SENTENCE_BREAK = re.compile(r"[.!?…:;|][\"'”’)]*\s")
UNFIT = re.compile(r"[@#\n\r\t*_{}<>\[\]\\^~|;]|https?:|www\.")
CLOSING = re.compile(r"[.!?][\"'”’)]*$")


def normalise(text: str) -> str:
    """Return a tweet without retweet marks, handles, links, hash signs, punctuation and capitals: what makes two tweets the same.

    A text with nothing else in it stands for itself.
    """
    bare = unicodedata.normalize("NFKC", html.unescape(text))
    for pattern in (STABLE_LINK, STABLE_RETWEET, HANDLE):
        bare = pattern.sub(" ", bare)
    bare = bare.replace("'", "").replace("’", "").casefold()
    return NOT_WORDS.sub(" ", bare).strip() or text.strip()


def first_of_each(texts: Iterable[str]) -> list[int]:
    """Return for each text the position of the first one that is the same by `normalise`; its own if it is the first."""
    seen: dict[str, int] = {}
    return [seen.setdefault(normalise(text), position) for position, text in enumerate(texts)]


def plain_sentence(text: str, longest: int | None = LONGEST_SUMMARY) -> str | None:
    """Return the text as one plain sentence with a closing mark, or None when it is not fit to be a target.

    Unfit are: fewer than three words or more than `longest`, more than one sentence, marks of Twitter, lists, markup. The
    section after a headline's last dash is left out.
    """
    if "\n" in text.strip():
        return None
    sentence = SECTION.sub("", " ".join(text.split()))
    count = len(sentence.split())
    if count < 3 or (longest is not None and count > longest):
        return None
    if UNFIT.search(sentence) or SENTENCE_BREAK.search(sentence) or EMOJI.search(sentence):
        return None
    if not sentence[0].isalnum() and sentence[0] not in "'\"‘“$£€":
        return None
    sentence = sentence[0].upper() + sentence[1:]
    return sentence if CLOSING.search(sentence) else sentence.rstrip(",-–—… ") + "."


def clean_text(text: str) -> str | None:
    """Return a clean text of any length, or None when it holds marks of Twitter or markup: the targets of the stage `clean`."""
    tidy = " ".join(text.split())
    fit = len(tidy.split()) >= 3 and not UNFIT.search(tidy) and not EMOJI.search(tidy)
    return (tidy if CLOSING.search(tidy) else f"{tidy}.") if fit else None
