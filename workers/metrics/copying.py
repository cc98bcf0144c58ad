"""Measures how much shorter an output is than its tweet, and how much of it is copied. Neither is good or bad.

Max Grusky, Mor Naaman, Yoav Artzi. Newsroom: A Dataset of 1.3 Million Summaries with Diverse Extractive Strategies. NAACL 2018.
Words are compared without case and marks, hashtags split; of a script without spaces, what stands between two marks is one word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from workers.text.english.words import WORD
from workers.text.tokens import count_words, plain, split_hashtags


@dataclass(frozen=True)
class Copying:
    """What an output has of its tweet.

    Attributes:
        coverage: share of its words that lie in copied spans, 0 to 1.
        density: words of the span that a word lies in, on average; 0 for a word that isn't copied.
    """

    coverage: float
    density: float


def compression(tweet: str, output: str) -> float:
    """Return the words of the output over those of the tweet, counted as the output constraints do: 0.5 is half as long.

    It is the reciprocal of Grusky's. A tweet without a word counts as one word.
    """
    return count_words(output) / max(1, count_words(tweet))


def copying(tweet: str, output: str) -> Copying:
    """Return extractive fragment coverage and density (figure 3 of the paper). An output without words has copied nothing."""
    wrote = _words(output)
    if not wrote:
        return Copying(0.0, 0.0)
    spans = _spans(_words(tweet), wrote)
    return Copying(sum(spans) / len(wrote), sum(length * length for length in spans) / len(wrote))


def _spans(tweet: Sequence[str], output: Sequence[str]) -> list[int]:
    """Return the lengths of the spans that are shared: from left to right, at each word the longest that begins there."""
    places = defaultdict(list)
    for place, word in enumerate(tweet):
        places[word].append(place)
    spans, start = [], 0
    while start < len(output):
        longest = behind = 0
        for place in places.get(output[start], ()):
            if place < behind:  # inside a span that was compared, as in the paper: keeps the time linear in the tweet's words
                continue
            length = _shared(tweet, place, output, start)
            longest, behind = max(longest, length), place + length
        if longest:
            spans.append(longest)
        start += max(1, longest)
    return spans


def _shared(tweet: Sequence[str], place: int, output: Sequence[str], start: int) -> int:
    length = 0
    while place + length < len(tweet) and start + length < len(output) and tweet[place + length] == output[start + length]:
        length += 1
    return length


def _words(text: str) -> list[str]:
    return [word.casefold() for word in WORD.findall(split_hashtags(plain(text)))]
