"""Computes ERR, the error reduction rate: how many of the words that need it a cleaner normalises, less the words that it spoils.

R. van der Goot, MoNoise: A Multi-lingual and Easy-to-use Lexical Normalization Model (ACL 2019, demonstrations); the metric of the
shared task MultiLexNorm (van der Goot et al., W-NUT 2021). It is the accuracy over words, scaled so that leaving all as it is gives 0
and a perfect cleaner 1; spoiling more words than one corrects gives less than 0.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.evaluation.lexnorm.word_alignment import Span, TweetWord, spans, tweet_words
from workers.files import sha256
from workers.metrics.bootstrap import Figure, ratio

DICTIONARY_FOLDS = 10

Dictionary = Mapping[str, Span]
"""What to write for a word; a word that is not there is left as it is."""


@dataclass(frozen=True)
class Gold:
    """A tweet in words, and what each of them should become."""

    words: tuple[TweetWord, ...]
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, messy: str, clean: str) -> Gold:
        """Return the gold of a tweet and its cleaned text, by the alignment of their words."""
        found = tweet_words(messy)
        return cls(tuple(found), tuple(spans(_texts(found), _texts(tweet_words(clean)))))

    @property
    def needing(self) -> int:
        """How many words should not stay as they are."""
        return sum(word.scored and span != (word.text,) for word, span in zip(self.words, self.spans, strict=True))


@dataclass(frozen=True)
class ErrorCounts:
    """What a cleaner did to each tweet, arrays of shape (tweets,).

    `corrected` is TP, words that needed it and are as in the gold; `spoiled` is FP, words that were right and are not any more; `needing`
    is TP + FN. A wrong replacement of a word that needed one is a FN alone.
    """

    corrected: NDArray[np.float64]
    spoiled: NDArray[np.float64]
    needing: NDArray[np.float64]

    def err(self, resamples: int = 2000, seed: int = 0) -> Figure:
        """Return (TP - FP) / (TP + FN) over all words, with a 95% interval over tweets; `n` is the number of tweets.

        Raises:
            ValueError: no word needs normalisation.
        """
        return ratio(self.corrected - self.spoiled, self.needing, resamples, seed)

    def err_above(self, other: ErrorCounts, resamples: int = 2000, seed: int = 0) -> Figure:
        """Return by how much the ERR is above another cleaner's on the same tweets, paired."""
        return ratio(self.corrected - self.spoiled - other.corrected + other.spoiled, self.needing, resamples, seed)


def count_errors(gold: Sequence[Gold], outputs: Sequence[str]) -> ErrorCounts:
    """Compare what a cleaner wrote with the gold, word by word. Case, marks, handles, hashtags, links and emoji are not compared."""
    rows = [_compared(row, [word.text for word in tweet_words(output)]) for row, output in zip(gold, outputs, strict=True)]
    return _as_counts(gold, rows)


def counts_of_dictionaries(gold: Sequence[Gold], dictionaries: Sequence[Dictionary]) -> ErrorCounts:
    """Count the errors of word by word replacement, a dictionary a tweet."""
    rows = [
        _judged(row, [dictionary.get(word.text, (word.text,)) for word in row.words])
        for row, dictionary in zip(gold, dictionaries, strict=True)
    ]
    return _as_counts(gold, rows)


def most_frequent(gold: Iterable[Gold]) -> Dictionary:
    """Return for each word what it most often became; of equally frequent ones the word itself, else the first by the alphabet."""
    return _best(_tally(gold))


def most_frequent_of_the_others(gold: Sequence[Gold], seed: int = 0) -> list[Dictionary]:
    """Return for each tweet a dictionary learnt from the other tweets: from the nine tenths in which neither it nor its equal lies.

    The tenths are drawn by the seed and the tweet's words, so that the order of the file changes nothing.
    """
    numbers = [_fold(row, seed) for row in gold]
    by_fold = {
        fold: most_frequent(row for row, number in zip(gold, numbers, strict=True) if number != fold) for fold in sorted(set(numbers))
    }
    return [by_fold[number] for number in numbers]


def _texts(found: Sequence[TweetWord]) -> list[str]:
    return [word.text for word in found]


def _compared(gold: Gold, output: Sequence[str]) -> tuple[int, int]:
    return _judged(gold, spans(_texts(gold.words), output))


def _judged(gold: Gold, written: Sequence[Span]) -> tuple[int, int]:
    corrected = spoiled = 0
    for word, should, is_now in zip(gold.words, gold.spans, written, strict=True):
        if word.scored and should == (word.text,):
            spoiled += is_now != should
        elif word.scored:
            corrected += is_now == should
    return corrected, spoiled


def _as_counts(gold: Sequence[Gold], rows: Sequence[tuple[int, int]]) -> ErrorCounts:
    both = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return ErrorCounts(both[:, 0], both[:, 1], np.array([row.needing for row in gold], dtype=np.float64))


def _tally(gold: Iterable[Gold]) -> Mapping[str, Counter[Span]]:
    tally: defaultdict[str, Counter[Span]] = defaultdict(Counter)
    for row in gold:
        for word, span in zip(row.words, row.spans, strict=True):
            if word.scored:
                tally[word.text][span] += 1
    return tally


def _best(tally: Mapping[str, Counter[Span]]) -> Dictionary:
    best = {word: min(seen, key=lambda span: (-seen[span], span != (word,), span)) for word, seen in tally.items()}
    return {word: span for word, span in best.items() if span != (word,)}


def _fold(row: Gold, seed: int) -> int:
    return int(sha256(f"{seed} {' '.join(_texts(row.words))}")[:16], 16) % DICTIONARY_FOLDS
