"""Finds outputs that break off: in mid-sentence, in a name, before what is compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from workers.text.english.lexicon import AUXILIARIES, DEGREES, OPEN_ENDINGS, SUBJECTS
from workers.text.english.words import WORD, lowered
from workers.text.tokens import EMOJI

_PART = re.compile(rf"[.,;:!?()\"{{}}@#…—–]|\s-+\s|{EMOJI.pattern}")
_COMPARED = frozenset({"as", "than"})
_STANDS_FOR_MORE = frozenset({"as", "than", "what", "how", "who", "where", "sure"})
_SAID_SO = frozenset(["hope", "hopes", "hoping", "think", "thinks", "thought", "say", "says", "said", "guess", "told", "believe", "afraid"])
_HEADLINE = 0.5  # share of capitals from which they mark no names


def breaks_off(sentences: Sequence[str], output: str) -> bool:
    """Return whether the output ends where a sentence hardly can, and the tweet goes on there.

    Args:
        sentences: of the tweet, as it is prepared.
        output: as it was written.
    """
    words = lowered(output)
    if not words:
        return False
    if words[-1] not in _endings(tuple(sentences)) and (_is_open(words, output) or _lacks_its_complement(words)):
        return True
    return _is_half_a_name(" ".join(sentences), output)


@lru_cache(maxsize=256)
def _endings(sentences: tuple[str, ...]) -> frozenset[str]:
    """Return the words on which a part of the tweet ends."""
    return frozenset(lowered(part)[-1] for sentence in sentences for part in _PART.split(sentence) if any(map(str.isalnum, part)))


def _is_open(words: Sequence[str], output: str) -> bool:
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last not in OPEN_ENDINGS or (last, before) == ("while", "a"):
        return False
    if last == "though" and ", though" in output:
        return False
    stands_for_more = last in AUXILIARIES and before in SUBJECTS and not _STANDS_FOR_MORE.isdisjoint(words[-5:])
    return not (stands_for_more or (last == "so" and before in _SAID_SO) or (last in AUXILIARIES and before == "sure"))


def _lacks_its_complement(words: Sequence[str]) -> bool:
    """Return whether the last words are such as `are usually`, or `than I did` of a tweet that goes on to say when."""
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if before in AUXILIARIES and last in DEGREES:
        return True
    return last in AUXILIARIES and before in SUBJECTS and not _COMPARED.isdisjoint(words[-4:-1])


def _is_half_a_name(tweet: str, output: str) -> bool:
    """Return whether the output ends on the first part of a name that the tweet only has whole: `Anna` for Anna Lund."""
    words = WORD.findall(output)
    last = words[-1]
    if len(words) < 2 or not last[0].isupper() or len(last) < 2 or last.isupper() or output.rstrip(".!?\"')")[-1:] != last[-1]:
        return False
    theirs = WORD.findall(tweet)
    places = [place for place, word in enumerate(theirs) if word == last]
    if not places or sum(word[0].isupper() for word in theirs) > _HEADLINE * len(theirs):
        return False
    return all(
        re.search(rf"\b{re.escape(last)} [A-Z][a-z]+", tweet) is not None
        and place + 1 < len(theirs)
        and theirs[place + 1][0].isupper()
        and (place == 0 or not theirs[place - 1][0].isupper())
        for place in places
    )
