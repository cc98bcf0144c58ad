"""Checks the output constraints of a summary: its form, and its faithfulness to the tweet as far as words show it."""

from __future__ import annotations

import re

from schemas.payloads import Stage
from workers.text.english.words import foreign_names, foreign_numbers
from workers.text.tokens import EMOJI, EMOTICON, HANDLE, LINK, count_words, plain

MAX_WORDS = 15
MAX_NEW_TOKENS = {Stage.SUMMARY: 40, Stage.CLEAN: 120}
"""Tokens after which a model's answer is cut."""

_ENDS_ONCE = re.compile(r"[^.!?\s][\"')\]]*[.!?][\"')\]]*$")
_ENDS_INSIDE = re.compile(r"[.!?…][\"')\]]*\s+\S")
_TAG = re.compile(r"[#＃]\w")


def meets_constraints(tweet: str, output: str) -> bool:
    """Whether `output` is one plain sentence of at most 15 words, on one line, with no more words than the tweet as it was sent.

    Plain means without handle, link, hashtag, emoji or emoticon; one sentence means one `.`, `?` or `!` at the end and none
    before. Words are what stands between spaces; the hashtags of the tweet count as the words in them.
    """
    if output != output.strip() or "\n" in output or "\r" in output or not any(map(str.isalnum, output)):
        return False
    words = len(output.split())
    if words > MAX_WORDS or words > count_words(tweet):
        return False
    if not _ENDS_ONCE.search(output) or _ENDS_INSIDE.search(output):
        return False
    return not any(pattern.search(output) for pattern in (HANDLE, LINK, _TAG, EMOJI, EMOTICON))


def faithful(tweet: str, output: str) -> bool:
    """Whether every number, name and link of `output` stands in the tweet, in any case, with hashtags split, `3rd` as `third`."""
    return not foreign_links(tweet, output) and not foreign_numbers(tweet, output) and not foreign_names(tweet, output)


def foreign_links(tweet: str, output: str) -> set[str]:
    """Return the links of `output` that the tweet lacks."""
    text = plain(tweet)
    return {link for found in LINK.findall(output) if (link := found.rstrip(".,!?)")) not in text}
