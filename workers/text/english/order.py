"""Finds words of an output that swapped places: who and whom, a number and another, what came from where."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from workers.text.english.lexicon import PREPOSITIONS
from workers.text.english.words import WORD, content_stem

_PART = re.compile(r"\s[-–—~|/]+\s|[—;:()\"]|\.{2,}|(?<=[.!?])\s")
_SPAN = 8  # content words of the tweet from the first to the last of a swap
# Between two words these alone say which is which: "from Leeds to York", "older than Ann".
_FRAMES = PREPOSITIONS & {"than", "to", "before", "after", "without", "over", "like", "from", "into", "against"}


class _Word(NamedTuple):
    """A content word: its stem, and the prepositions and other small words right before it."""

    stem: str
    part: int
    before: tuple[str, ...]


class _Shared(NamedTuple):
    """A word of both texts, with its place in each."""

    tweets: int
    outputs: int


def swapped(tweet: str, output: str) -> int:
    """Count words that stand the other way round than in the tweet, with what stands between them in its place.

    A part that was moved whole is no swap: in `A hit B` and `B, A hit` no three words are reversed, as they are in `B hit A`. Nor is
    what other small words reverse: `B was hit by A`.

    Args:
        tweet: on one line, with its marks.
        output: as it was written.
    """
    in_tweet, in_output = _content(tweet), _content(output)
    shared = _shared(in_tweet, in_output)
    reversed_words = _longest_reversed(shared)
    if reversed_words > 2 and any(_keeps_its_frame(in_tweet, in_output, three) for three in _reversed_threes(in_tweet, shared)):
        return reversed_words - 2
    if reversed_words > 1 and any(_reverses_a_frame(in_tweet, in_output, two) for two in pairwise(shared)):
        return 1
    return int(_exchanged(in_tweet, in_output))


def _shared(in_tweet: Sequence[_Word], in_output: Sequence[_Word]) -> list[_Shared]:
    """Return the words that stand once in both texts, in the output's order; of others nobody can tell which became which."""
    tweets, outputs = Counter(word.stem for word in in_tweet), Counter(word.stem for word in in_output)
    places = {word.stem: place for place, word in enumerate(in_tweet) if tweets[word.stem] == 1}
    return [_Shared(places[word.stem], place) for place, word in enumerate(in_output) if word.stem in places and outputs[word.stem] == 1]


def _longest_reversed(shared: Sequence[_Shared]) -> int:
    lengths: list[int] = []
    for place, word in enumerate(shared):
        lengths.append(1 + max((lengths[at] for at in range(place) if shared[at].tweets > word.tweets), default=0))
    return max(lengths, default=0)


def _reversed_threes(in_tweet: Sequence[_Word], shared: Sequence[_Shared]) -> Iterator[tuple[_Shared, _Shared, _Shared]]:
    """Yield three words of one part of the tweet that the output has in reversed order, near each other."""
    for place, middle in enumerate(shared):
        for first in shared[max(0, place - _SPAN) : place]:
            for last in shared[place + 1 : place + 1 + _SPAN]:
                reversed_near = last.tweets < middle.tweets < first.tweets <= last.tweets + _SPAN
                if reversed_near and in_tweet[first.tweets].part == in_tweet[last.tweets].part:
                    yield first, middle, last


def _keeps_its_frame(in_tweet: Sequence[_Word], in_output: Sequence[_Word], three: tuple[_Shared, _Shared, _Shared]) -> bool:
    """Return whether the words alone were reversed, and not what joins them: `by`, or `of` and `in` where a compound needs none."""
    first, middle, last = three
    tweets = _between(in_tweet, last.tweets, middle.tweets), _between(in_tweet, middle.tweets, first.tweets)
    outputs = _between(in_output, first.outputs, middle.outputs), _between(in_output, middle.outputs, last.outputs)
    if any(("by" in mine) != ("by" in theirs) for mine, theirs in zip(tweets, outputs, strict=True)):
        return False
    return not all(tweets) or any(outputs)


def _reverses_a_frame(in_tweet: Sequence[_Word], in_output: Sequence[_Word], two: tuple[_Shared, _Shared]) -> bool:
    first, second = two
    if second.outputs != first.outputs + 1 or first.tweets != second.tweets + 1:
        return False
    frame = _FRAMES.intersection(in_output[second.outputs].before)
    return bool(frame) and frame == _FRAMES.intersection(in_tweet[first.tweets].before)


def _exchanged(in_tweet: tuple[_Word, ...], in_output: tuple[_Word, ...]) -> bool:
    """Return whether words of two pairs changed places: "3 calls for 40 bucks", "40 calls for 3 bucks"; one such number is enough."""
    theirs, mine = _neighbours(in_tweet), _neighbours(in_output)
    new = mine - theirs
    if not new:
        return False
    known = {word.stem for word in in_tweet}
    for first, second in new:
        before, after = {one for one, other in theirs if other == second}, {other for one, other in theirs if one == first}
        if any((one, other) in new for one in before for other in after):
            return True
        if first.isdigit() and not second.isdigit() and first in known and any(map(str.isdigit, before)):
            return True
    return False


@lru_cache(maxsize=1024)
def _neighbours(words: tuple[_Word, ...]) -> frozenset[tuple[str, str]]:
    """Return the stems of words with nothing between them."""
    return frozenset((one.stem, other.stem) for one, other in pairwise(words) if not other.before and one.part == other.part)


def _between(words: Sequence[_Word], first: int, second: int) -> set[str]:
    return {small for word in words[first + 1 : second + 1] for small in word.before if small in PREPOSITIONS or small == "'s"}


@lru_cache(maxsize=1024)
def _content(text: str) -> tuple[_Word, ...]:
    found: list[_Word] = []
    for part, words in enumerate(map(WORD.findall, _PART.split(text))):
        before: list[str] = []
        for word in words:
            stem = content_stem(word)
            if stem is None:
                before.append(word.lower())
            else:
                found.append(_Word(stem, part, tuple(before)))
                before = ["'s"] if word.endswith("'s") else []
    return tuple(found)
