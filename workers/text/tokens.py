"""Patterns of links, handles, hashtags, emoji and emoticons, and functions that take tweets apart by them."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from workers.text.characters import visible
from workers.text.html import plain_of

LINK = re.compile(
    r"(?:https?:/{1,2}|www\.)\S+"
    r"|(?<![\w@.])(?:[a-z0-9-]+\.)+(?:com|net|org|ly|co|gl|me|tv|fm|gd|it|to|us|uk|be|io|eu|info|im|cc|am|mp|la|st|ms)/\S*",
    re.IGNORECASE,
)
HANDLE = re.compile(r"(?<![\w@＠])[@＠]\w+")
HASHTAG = re.compile(r"(?<![\w&])[#＃](\w*[^\W\d_]\w*)")
EMOJI = re.compile(
    "[\U0001f000-\U0001faff\U0001fc00-\U0001fcff\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\u20e3\ufe0e\ufe0f\u200d]+"
)
# Eyes and a mouth need an edge on the left when the mouth is a letter, so that "1:30", "cc:Dan" and "(note:x)" stay words.
EMOTICON = re.compile(
    r"[:;=]['`,]?[-o*^~0]?[)(\]\[}{|*]+(?!\w)"
    r"|(?<!\S)[>}]?[:;=]['`,]?[-o*^~0]?(?:[DPpOo3SscCxXlL0]+|[/\\]+)(?![\w/])"
    r"|(?<![\w])[xX]D+\b"
    r"|(?<!\S)D[:=](?=\s|$)"
    r"|</?3+"
    r"|(?<!\w)(?:\^[_.-]*\^|[-*][_.]+[-*]|[oO]_+[oO]|T_+T|;_+;|>[_.]*<|\\[oO]/)(?!\w)"
)
RETWEET = re.compile(
    r"\b[RM]T\b\s*:?\s*(?:[\"']?[@＠]\w+\s?:?\s*)+"
    r"|^\s*(?:[RM]T\b\s*:\s*|RT\b\s*(?:$|(?=[\"'\w])))"
    r"|^\W*(?:via|h/?t)\b\s*:?\s*(?:[@＠]\w+\s*)+(?::|\s-)\s*",
    re.IGNORECASE,
)
"""Where RT or MT may be a mark: with whom it is from, or at the beginning. `without_retweet_marks` tells the marks from the verbs."""
# After one of these, "RT @ann" is something to do, unless a colon says whose words follow.
_ASKS = re.compile(
    r"(?<![^\s\"'(*])(?:please|plea?se|pl[sz]|kindly|and|n|or|to|must|just|then|can|could|will|would|don'?t|never|always|also|[&+])\s*$",
    re.IGNORECASE,
)
# A beginning RT is a mark before what may begin a tweet of somebody else: a capital, or a name such as `ann_b`, `harbour2009` or `ann:`.
_ANOTHERS = re.compile(r"\W*(?:[A-Z]|[a-z]+_\w|[a-z]{3,}\d\d|\w+\s?:)")
_ASKED = re.compile(
    r"\W*(?:if|to|this|that|these|those|it|when|for|and|or|n|please|pls|plz|now|so|my|our|your|ur|me|us|as|with|after|before|until|while"
    r"|once|because|follow|like|share|vote|win|tag|comment|away|back|hon|[0-9]+)\b",
    re.IGNORECASE,
)

_QUOTES = str.maketrans({"‘": "'", "’": "'", "‛": "'", "`": "'", "´": "'", "“": '"', "”": '"', "„": '"', "…": "...", "\u00a0": " "})


@lru_cache(maxsize=1024)  # a check asks a dozen times for the same two texts
def plain(text: str) -> str:
    """Return the text on one line: without HTML and what is invisible, with letters, quotes and runs of spaces made plain."""
    seen = visible(text)
    unmarked = plain_of(seen)
    if unmarked != seen:
        unmarked = visible(unmarked)
    return " ".join(unmarked.translate(_QUOTES).split())


def without_retweet_marks(text: str) -> str:
    """Return the text without the marks that say whose tweet it repeats; RT as a verb stays: "please RT", "RT to win"."""
    return RETWEET.sub(_mark_or_verb, text)


def _mark_or_verb(match: re.Match[str]) -> str:
    mark = match.group()
    if "@" in mark or "＠" in mark:
        asked = _ASKS.search(match.string[max(0, match.start() - 20) : match.start()])
        return mark if asked and ":" not in mark else " "
    rest = match.string[match.end() : match.end() + 30]
    repeats = not rest or ":" in mark or rest[0] in "\"'" or (_ANOTHERS.match(rest) and not _ASKED.match(rest))
    return " " if repeats else mark


def split_hashtag(tag: str) -> str:
    """Return the words of a hashtag without its sign: `HomeImprovement` gives `Home Improvement`, `MTVAwards` gives `MTV Awards`."""
    parts = [part for chunk in tag.split("_") for part in _split_camel(chunk)]
    return " ".join(parts) or tag


def split_hashtags(text: str) -> str:
    """Return the text with every hashtag replaced by its words."""
    return HASHTAG.sub(lambda match: split_hashtag(match.group(1)), text)


def count_words(text: str) -> int:
    """Count words as the output constraints do: what stands between spaces, each hashtag as its words."""
    return len(split_hashtags(plain(text)).split())


def _split_camel(chunk: str) -> list[str]:
    # iPhone and eBay are words, so a lone small first letter does not start a split.
    if chunk[:1].islower() and chunk[1:2].isupper() and chunk[2:].islower():
        return [chunk]
    starts = [place for place in range(1, len(chunk)) if _starts_word(chunk, place)]
    return [chunk[start:end] for start, end in pairwise([0, *starts, len(chunk)]) if chunk[start:end]]


def _starts_word(chunk: str, place: int) -> bool:
    """Whether a capital begins a word: after a small letter or a digit, or the last of a run of capitals: the A of `MTVAwards`."""
    return chunk[place].isupper() and (not chunk[place - 1].isupper() or chunk[place + 1 : place + 2].islower())
