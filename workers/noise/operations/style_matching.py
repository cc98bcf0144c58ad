"""Matches a clean text with an observed style: that of a tweet of like length, sentences and contractions.

Styles are compared by what noise leaves alone: length, sentences, how often `I`, `and` and contractions occur, questions and exclamations.
One of the nearest is drawn, so that a mark or a misspelling comes as often as it came among such tweets.
"""

from __future__ import annotations

import random

import numpy as np

from workers.noise.fitting.profile import NoiseProfile
from workers.noise.fitting.style_vectors import Style, hosts_of

NEAREST = 25
_WEIGHTS = np.array([2.5, 0.5, 0.6, 0.4, 0.4, 1.0, 1.0, 0.6])


class Matcher:
    """Draws styles of a profile for clean texts."""

    def __init__(self, profile: NoiseProfile) -> None:
        self._styles = profile.vectors
        self._table = np.array([_hosts(style) for style in self._styles])

    def draw(self, sentence: str, rng: random.Random, count: int = 1) -> list[Style]:
        """Draw `count` of the styles nearest to a clean text, in the order of the draw."""
        distances = np.abs(self._table - np.array(_hosts(hosts_of(sentence)))) @ _WEIGHTS
        # All that are as near as the last one count, so that the order of the rows decides nothing. Rounded: machines add up differently.
        rounded = np.round(distances, 6)
        last = min(NEAREST, len(rounded)) - 1
        nearest = np.flatnonzero(rounded <= np.partition(rounded, last)[last])
        return [self._styles[place] for place in rng.sample(nearest.tolist(), min(count, len(nearest)))]


def _hosts(style: Style) -> list[float]:
    """Return numbers in the order of `_WEIGHTS`: half again as many words weigh as much as two sentences more."""
    return [
        float(np.log1p(style.words)),
        min(style.sentences, 6),
        min(style.first_person, 3),
        min(style.contracted, 3),
        min(style.joined, 3),
        min(style.questions, 2),
        min(style.exclamations, 2),
        float(style.subjectless or style.opens_first),
    ]
