"""Splits scored rows by what their tweets hold: long, with numbers, a question …, and by where they came from.

A slice tells where a system is good and where it fails. It has few rows and there are many of them, so it is a hint where to look, and
no proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.evaluation.systems import HeldBackRow
from workers.metrics.bootstrap import difference, interval
from workers.metrics.scores import Scores
from workers.text.clean import rules
from workers.text.english import negation
from workers.text.english.lexicon import LAUGHTER, SLANG
from workers.text.tokens import HASHTAG, plain

HEADLINE = "sari"
"""The metric by which systems are told apart."""

WORST = 5
"""Rows of each system that are named as its worst."""

LONG_TWEET_WORDS = 20
"""Tweets of more words than this are long: there a summary has to choose."""

SMALLEST = 10
"""Rows from which a slice has figures: the bootstrap of fewer says little."""

_SLANG_WORDS = 2  # from which a tweet is heavy with it

SLICES: Mapping[str, Callable[[str], bool]] = {
    "long": lambda tweet: len(tweet.split()) > LONG_TWEET_WORDS,
    "numbers": lambda tweet: any(character.isdigit() for character in rules(tweet)),
    "hashtags": lambda tweet: HASHTAG.search(tweet) is not None,
    "slang": lambda tweet: sum(_bare(word) in SLANG or _bare(word) in LAUGHTER for word in tweet.split()) >= _SLANG_WORDS,
    "questions": lambda tweet: "?" in rules(tweet),
    "negation": lambda tweet: negation.denies(rules(tweet)),
    "quotes": lambda tweet: plain(tweet).count('"') >= 2,
}
"""By name, whether a tweet belongs to a slice."""

Mask = NDArray[np.bool_]


def masks(rows: Sequence[HeldBackRow]) -> dict[str, Mask]:
    """Return of each slice that has a row which rows are in it, shape (rows,); where rows come from several sources, of each source too."""
    tweets = [row.tweet for row in rows]
    found = {name: np.array([belongs(tweet) for tweet in tweets], dtype=np.bool_) for name, belongs in SLICES.items()}
    sources = sorted({row.source for row in rows if row.source is not None})
    if len(sources) > 1:
        found |= {f"source {source}": np.array([row.source == source for row in rows], dtype=np.bool_) for source in sources}
    return {name: mask for name, mask in found.items() if mask.any()}


def table(
    rows: Sequence[HeldBackRow], scores: Mapping[str, Scores], resamples: int, seed: int, against: str | None = None
) -> dict[str, Any]:
    """Return as JSON for each slice its `n`, and from `SMALLEST` rows on each system's SARI.

    Args:
        rows: that were scored.
        scores: by system, in the order of the rows.
        resamples: of an interval.
        seed: of the draws.
        against: a system whose paired margin over each other one is told under `margins`.
    """
    found: dict[str, Any] = {}
    for name, mask in masks(rows).items():
        count = int(mask.sum())
        found[name] = {"n": count}
        if count < SMALLEST:
            continue
        inside = {system: of_system[HEADLINE][mask] for system, of_system in scores.items()}
        found[name][HEADLINE] = {system: interval(values, resamples, seed).as_dict() for system, values in inside.items()}
        if against is not None:
            found[name]["margins"] = {
                system: difference(inside[against], values, resamples, seed).as_dict()
                for system, values in inside.items()
                if system != against
            }
    return found


def worst(rows: Sequence[HeldBackRow], scores: Scores) -> list[dict[str, Any]]:
    """Return the ids and scores of a system's worst rows by SARI, the worst first. No text: a job's result holds none."""
    order = np.argsort(scores[HEADLINE], kind="stable")[:WORST]
    return [{"id": rows[place].id, HEADLINE: float(scores[HEADLINE][place])} for place in order]


def _bare(word: str) -> str:
    return word.lower().strip(".,!?:;\"'()")
