"""Finds sentences of a tweet that an output runs together without a mark or a joining word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from workers.text.english.lexicon import AUXILIARIES, CONJUNCTIONS, POINTERS, PREPOSITIONS, SUBJECTS
from workers.text.english.words import WORD, content_stem, lowered, stems

_OPENING = 2  # content words among which a sentence's first one is: "the old bus left" may go on as "the bus left"
_ENDS = ",;:.!?-)"
_QUOTES = "\"'()[]"


class _Word(NamedTuple):
    """A content word: its stem, the small words right before it, and whether a mark stands there."""

    text: str
    stem: str
    before: tuple[str, ...]
    marked: bool


class _Home(NamedTuple):
    """Where a stem stands: as which content word of a sentence, if as its only one, and after a pronoun that points to what came before."""

    place: int
    only: bool
    points_back: bool


_Homes = Mapping[str, Mapping[int, _Home]]


def seams(sentences: Sequence[str], output: str) -> int:
    """Count where a sentence of the tweet ends and a later one begins with nothing between them.

    A seam has two words of the first sentence before it, and behind it the opening of the second with a word that goes on from there, or
    all the words that these sentences have: a single word from elsewhere, as a name put for `she`, makes none. What a conjunction, a
    preposition, a verb or a word of the output's own joins is no seam either, nor is an opening that lost its pronoun: "Rain all week.
    That means mud" as "Rain all week means mud".

    Args:
        sentences: of the tweet, as it is prepared.
        output: as it was written.
    """
    if len(sentences) < 2:
        return 0
    homes, words = _homes(tuple(sentences)), _words(output)
    return sum(_is_seam(homes, words, place) for place in range(1, len(words)))


def _is_seam(homes: _Homes, words: Sequence[_Word], place: int) -> bool:
    last, first = (homes.get(word.stem, {}) for word in words[place - 1 : place + 1])
    if last.keys() & first.keys() or _is_joined(words[place]):
        return False
    new_subject = not SUBJECTS.isdisjoint(words[place].before)
    earlier = last.keys() & homes.get(words[place - 2].stem, {}).keys() if place > 1 else {one for one, home in last.items() if home.only}
    later = homes.get(words[place + 1].stem, {}) if place + 1 < len(words) else {}
    return any(
        home.place < _OPENING
        and bool(earlier)
        and min(earlier) < sentence
        and (home.place < later[sentence].place if sentence in later else home.only and new_subject)
        and not (home.points_back and POINTERS.isdisjoint(words[place].before))
        for sentence, home in first.items()
    )


def _is_joined(word: _Word) -> bool:
    """Return whether something joins the word to the one before: a mark, a joining word, or a verb without a subject of its own."""
    subject = next((place for place, small in enumerate(word.before) if small in SUBJECTS), len(word.before))
    if word.marked or not CONJUNCTIONS.isdisjoint(word.before) or not PREPOSITIONS.isdisjoint(word.before[:subject]):
        return True
    return word.before[0] in AUXILIARIES if word.before else word.text.endswith("ing")


@lru_cache(maxsize=256)
def _homes(sentences: tuple[str, ...]) -> dict[str, dict[int, _Home]]:
    homes: dict[str, dict[int, _Home]] = {}
    for number, sentence in enumerate(sentences):
        points_back = not POINTERS.isdisjoint(lowered(sentence)[:1])
        content = stems(sentence)
        for place, stem in enumerate(content):
            homes.setdefault(stem, {}).setdefault(number, _Home(place, len(content) == 1, points_back))
    return homes


@lru_cache(maxsize=1024)
def _words(output: str) -> tuple[_Word, ...]:
    found: list[_Word] = []
    before: list[str] = []
    marked = True
    for token in output.split():
        marked = marked or token[0] in _QUOTES
        for word in WORD.findall(token):
            stem = content_stem(word)
            if stem is None:
                before.append(word.lower())
            else:
                found.append(_Word(word.lower(), stem, tuple(before), marked))
                before, marked = [], False
        marked = marked or token.rstrip(_QUOTES)[-1:] in _ENDS or token[-1] in _QUOTES
    return tuple(found)
