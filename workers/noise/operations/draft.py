"""Holds a sentence while noise is applied to it: its words, which of them must not change, and the operations so far."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from workers.noise.fitting.rates import NoiseRates
from workers.noise.fitting.word_lists import ABBREVIATIONS, NEGATIONS, NUMBER_WORDS

WORD_PARTS = re.compile(r"(?P<before>[^\w$£€&]*)(?P<core>.*?)(?P<after>[^\w%]*)", re.DOTALL)
END_MARK = re.compile(r"[.!?…]")
MESSINESS = (0.25, 0.5, 1.0, 1.0, 2.25)  # mean 1: some people misspell throughout, most hardly ever


@dataclass(frozen=True)
class Operation:
    """Something that was done: its name, and at which word of the clean text, from 0; None: to the whole text."""

    kind: str
    at: int | None = None


@dataclass
class Word:
    """One word between its punctuation marks. `opens` a sentence; `fixed` words keep their spelling.

    `place` is its number in the clean text, `gap` the blank before it.
    """

    before: str
    core: str
    after: str
    opens: bool
    fixed: bool
    place: int | None = None
    gap: str = " "

    def __str__(self) -> str:
        return f"{self.before}{self.core}{self.after}"

    @property
    def named(self) -> bool:
        """Whether it looks like a name: a capital where no sentence opens, other than the pronoun I."""
        return self.core[:1].isupper() and not self.opens and not self.core.startswith(("I'", "I’")) and self.core != "I"

    @property
    def ends_sentence(self) -> bool:
        """Whether the mark after it closes a sentence rather than an abbreviation."""
        return bool(END_MARK.search(self.after)) and self.core.lower() not in ABBREVIATIONS

    @property
    def spellable(self) -> bool:
        """Whether a typo in it can be understood: a plain small word of some length."""
        return not self.fixed and len(self.core) >= 4 and self.core.isalpha() and self.core.islower()


@dataclass
class Draft:
    """Words and their surroundings, changed in place by the operations of `noise`."""

    words: list[Word]
    rates: NoiseRates
    rng: random.Random
    messiness: float
    head: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    end: int = 0  # words of the clean text: where the tail stands
    operations: list[Operation] = field(default_factory=list)

    @classmethod
    def of(cls, sentence: str, rates: NoiseRates, rng: random.Random) -> Draft:
        """Take a sentence apart. Spaces and line breaks of every kind become single spaces."""
        words: list[Word] = []
        opens = True
        for token in sentence.split():
            words.append(_word(token, opens, len(words)))
            opens = words[-1].ends_sentence
        return cls(words, rates, rng, rng.choice(MESSINESS), end=len(words))

    def chance(self, rate: float) -> bool:
        """Draw whether something happens to the whole tweet."""
        return self.rng.random() < rate

    def word_chance(self, rate: float) -> bool:
        """Draw whether something happens to one word, more often in a messy tweet."""
        return self.rng.random() < rate * (1.0 if rate == 1.0 else self.messiness)

    def record(self, kind: str, at: Word | int | None = None) -> None:
        """Note that an operation changed the text, at a word or as a whole."""
        self.operations.append(Operation(kind, at.place if isinstance(at, Word) else at))

    def text(self) -> str:
        """Return the tweet as it stands."""
        body = "".join(f"{word.gap if number else ''}{word}" for number, word in enumerate(self.words))
        return " ".join([*self.head, *([body] if self.words else []), *self.tail])


def is_negation(word: str) -> bool:
    """Whether `word` turns its sentence round: not, n't with or without its apostrophe sign, no, never, cannot, nobody ..."""
    bare = word.lower().replace("’", "'")
    return bare in NEGATIONS or bare.endswith("n't")


def _word(token: str, opens: bool, place: int) -> Word:
    parts = WORD_PARTS.fullmatch(token)
    before, core, after = (parts["before"], parts["core"], parts["after"]) if parts else ("", token, "")
    pieces = re.split(r"[^\w'’]+", core.lower())
    fixed = (
        not core
        or any(character.isdigit() for character in core)
        or any(mark in token for mark in "@#")
        or "://" in token
        or any(is_negation(piece) or piece in NUMBER_WORDS for piece in pieces)
    )
    return Word(before, core, after, opens, fixed, place)
