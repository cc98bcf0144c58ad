"""Computes paired differences between systems, each with an interval of its own and one that holds for all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from workers.metrics.bootstrap import LEVEL, difference_at
from workers.metrics.scores import Scores

Pair = tuple[str, str]


def paired(scores: Mapping[str, Scores], pairs: Iterable[Pair], metric: str, resamples: int, seed: int) -> dict[Pair, dict[str, Any]]:
    """Return of each pair of systems the mean of the first minus the second on the same rows, as plain JSON.

    `low` and `high` are the 95% interval of that pair alone. Of twenty such pairs of equal systems one is expected to exclude 0 by
    chance. `all_low` and `all_high` are wider, at the level of Bonferroni: with 95% all pairs lie in theirs at once. They need enough
    resamples to see so far into the tails: of 2000, a level of 99.5% for ten pairs leaves five draws on either side.
    """
    asked = list(pairs)
    together = 1 - (1 - LEVEL) / max(1, len(asked))
    found = {}
    for first, second in asked:
        alone, wide = difference_at(scores[first][metric], scores[second][metric], (LEVEL, together), resamples, seed)
        found[first, second] = {
            "difference": alone.value,
            "low": alone.low,
            "high": alone.high,
            "all_low": min(wide.low, alone.low),
            "all_high": max(wide.high, alone.high),
            "n": alone.n,
        }
    return found
