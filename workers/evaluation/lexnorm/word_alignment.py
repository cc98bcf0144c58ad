"""Aligns the words of a rewritten tweet with the words of the tweet that they stand for.

A rewriting may have more words than the tweet (`idk` becomes `I don't know`) or fewer (`may be` becomes `maybe`), so that counting
along is no use. The words are aligned by the cheapest edit of S. Needleman and C. Wunsch (A General Method Applicable to the Search
for Similarities in the Amino Acid Sequence of Two Proteins, 1970) in which one word may become several. Each word of the tweet gets a
span: the words that stand for it, none where it was dropped. Of two words that became one the nearer gets it and the other gets none.
Where the counts are equal and nothing was dropped or added, this is counting along.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from workers.text.tokens import EMOJI, EMOTICON, LINK, plain

Span = tuple[str, ...]

LONGEST_ACRONYM = 7  # words: `roflmao`
_LONGEST_SPAN = 3  # words that are compared letter by letter with one word
_DROPPED, _ADDED, _LONGER, _ACRONYM = 0.8, 0.7, 0.1, 0.2

_LONE_AND = re.compile(r"(?<!\S)&+(?!\S)")
# A handle or hashtag whole; else letters and digits, joined by what stands inside a word: don't, b/c, e-mail, f*ck, 1.5.
_WORD = re.compile(r"(?<![\w@#＠＃])[@#＠＃]\w+|[^\W_]+(?:(?:['/&*_-]|(?<=\d)[.,:](?=\d))[^\W_]+)*")


@dataclass(frozen=True)
class TweetWord:
    """A word in small letters. Handles and hashtags are not scored: a cleaner may keep, spell out or drop them."""

    text: str
    scored: bool = True


def tweet_words(text: str) -> list[TweetWord]:
    """Return the words of a text: without links, emoji, emoticons and marks, and with `&` as `and`."""
    body = plain(text)
    for pattern in (LINK, EMOTICON, EMOJI):
        body = pattern.sub(" ", body)
    found = _WORD.findall(_LONE_AND.sub("and", body).casefold())
    return [TweetWord(word.lstrip("@#＠＃"), scored=word[0] not in "@#＠＃") for word in found]


def spans(before: Sequence[str], after: Sequence[str]) -> list[Span]:
    """Return for each word of `before` the words of `after` that stand for it; in order, each word of `after` in exactly one span.

    The same two texts always give the same spans. Without words before, there are no spans.
    """
    head, tail = _shared_ends(before, after)
    if head == len(before) == len(after):
        return [(word,) for word in before]
    middle = before[head : len(before) - tail], after[head : len(after) - tail]
    if not middle[0]:
        # Only words were added: they go to the word before them, or to the first.
        head, tail = (head - 1, tail) if head else (head, tail - 1)
        if tail < 0:
            return []
        middle = before[head : len(before) - tail], after[head : len(after) - tail]
    ends = [(word,) for word in before[:head]], [(word,) for word in before[len(before) - tail :]]
    return [*ends[0], *_cheapest(*middle), *ends[1]]


def _shared_ends(before: Sequence[str], after: Sequence[str]) -> tuple[int, int]:
    shorter = min(len(before), len(after))
    head = 0
    while head < shorter and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < shorter - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return head, tail


def _cheapest(before: Sequence[str], after: Sequence[str]) -> list[Span]:
    """Return the spans of the cheapest edit. `taken[i][j]`: how many words the last step gave to word i; -1: one more to the same word."""
    rows, columns = len(before) + 1, len(after) + 1
    cost = [[0.0] * columns for _ in range(rows)]
    taken = [[0] * columns for _ in range(rows)]
    for column in range(1, columns):
        cost[0][column], taken[0][column] = column * _ADDED, -1
    for row in range(1, rows):
        for column in range(columns):
            cost[row][column], taken[row][column] = _step(cost, before[row - 1], after, row, column)
    return _traced(taken, after, rows - 1)


def _step(cost: list[list[float]], word: str, after: Sequence[str], row: int, column: int) -> tuple[float, int]:
    above = cost[row - 1]
    best, step = above[column] + _DROPPED, 0
    for count in range(1, min(column, LONGEST_ACRONYM) + 1):
        if above[column - count] >= best:
            continue
        here = above[column - count] + _distance(word, tuple(after[column - count : column]))
        if here < best:
            best, step = here, count
    if column and cost[row][column - 1] + _ADDED < best:
        best, step = cost[row][column - 1] + _ADDED, -1
    return best, step


def _traced(taken: list[list[int]], after: Sequence[str], words_before: int) -> list[Span]:
    found: list[Span] = [()] * words_before
    row, column = words_before, len(after)
    while row or column:
        step = taken[row][column]
        count = abs(step)
        # What stands before the first word goes to it.
        place = max(row - 1, 0)
        found[place] = (*after[column - count : column], *found[place])
        column -= count
        row -= step >= 0
    return found


@lru_cache(maxsize=2**18)
def _distance(word: str, span: Span) -> float:
    """Return the distance of two words, from 0 (the same) to about 1 (nothing in common)."""
    if len(span) > 1 and word.startswith("".join(each[0] for each in span)):
        return _ACRONYM
    if len(span) > _LONGEST_SPAN:
        return 1.0 + len(span) * _ADDED
    joined = "".join(span)
    return _edits(word, joined) / max(len(word), len(joined)) + _LONGER * (len(span) - 1)


def _edits(one: str, other: str) -> int:
    """Return the edit distance of V. Levenshtein (1966): letters to put in, take out or replace."""
    previous = list(range(len(other) + 1))
    for number, letter in enumerate(one, start=1):
        current = [number]
        for place, against in enumerate(other):
            current.append(min(previous[place] + (letter != against), previous[place + 1] + 1, current[place] + 1))
        previous = current
    return previous[-1]
