"""Chooses the tweets to pair next: those that differ most from what was learnt, of every way to differ, and no two alike."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from workers.drift.inputs import Incoming
from workers.text.near_duplicates import clusters

_LEAST_DEVIATION = 0.05
_USUAL = 0.99  # of training texts differ by no more than what counts as usual
_MOST = 9.0  # of one measure's squared distance: one long tweet is not worth ten of another kind


@dataclass(frozen=True)
class Chosen:
    """A tweet to pair, by its id, and the measure in which it differs most."""

    tweet: str
    because: str


def choose(
    tweets: Sequence[Incoming],
    measured: NDArray[np.float64],
    learnt: NDArray[np.float64],
    names: Sequence[str],
    drifted: Sequence[int],
    size: int,
    seed: int,
) -> list[Chosen]:
    """Return at most `size` tweets, those that differ most first.

    Args:
        tweets: that came in; those that have a pair already are left out.
        measured: their measures, shape (tweets, measures).
        learnt: those of training texts, shape (texts, measures).
        names: of the measures.
        drifted: columns that have drifted; empty: all count.
        size: how many are wanted.
        seed: decides between tweets that differ alike.
    """
    columns = list(drifted) or list(range(len(names)))
    distance, usual = _distances(measured[:, columns], learnt[:, columns]), _distances(learnt[:, columns], learnt[:, columns])
    score, most = distance.sum(axis=1), distance.argmax(axis=1)
    order = _without_copies(sorted(range(len(tweets)), key=lambda place: (-score[place], _drawn(seed, tweets[place].id))), tweets)
    # Of those that differ as training texts do among themselves, none stands for a way to differ.
    limit = float(np.quantile(usual.sum(axis=1), _USUAL))
    queues: dict[int, list[int]] = defaultdict(list)
    for place in order:
        if score[place] > limit:
            queues[int(most[place])].append(place)
    others = [place for place in order if score[place] <= limit]
    places = [*_in_turn(list(queues.values())), *others][:size]
    return [Chosen(tweets[place].id, names[columns[most[place]]]) for place in places]


def _distances(measured: NDArray[np.float64], learnt: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each text is from the mean of the training texts, in each measure: squares of their deviation."""
    deviation = np.maximum(learnt.std(axis=0), _LEAST_DEVIATION)
    return np.asarray(np.minimum(((measured - learnt.mean(axis=0)) / deviation) ** 2, _MOST))


def _without_copies(order: Sequence[int], tweets: Sequence[Incoming]) -> list[int]:
    """Return the places of tweets without a pair, and of those that are nearly alike the first."""
    free = [place for place in order if not tweets[place].paired]
    first: dict[int, int] = {}
    for place, cluster in zip(free, clusters([tweets[place].text for place in free]), strict=True):
        first.setdefault(cluster, place)
    return list(first.values())


def _in_turn(queues: Sequence[Sequence[int]]) -> list[int]:
    """Return one of each queue, then the next of each, until all are empty."""
    return [place for row in zip_longest(*queues) for place in row if place is not None]


def _drawn(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()
