"""Computes paired differences between systems, each with an interval of its own and one that holds for all of them together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from workers.metrics.bootstrap import LEVEL, difference_at
from workers.metrics.scores import Scores

Pair = tuple[str, str]

_DRAWS_OF_TAIL = 10
"""Resamples beyond each end of the interval that counts all pairs: fewer would make its ends a matter of luck."""


def paired(
    scores: Mapping[str, Scores], pairs: Iterable[Pair], metric: str, resamples: int, seed: int, *, together: bool = True
) -> dict[Pair, dict[str, Any]]:
    """Return of each pair of systems the mean of the first minus the second on the same rows, as plain JSON.

    `low` and `high` are the 95% interval of that pair alone. Of twenty such pairs of equal systems one is expected to exclude 0 by
    chance. With `together` there are `all_low` and `all_high` too, wider, at the level of Bonferroni: with 95% all pairs lie in theirs
    at once. They are drawn from more resamples where there are so many pairs that `resamples` would not reach into the tails.
    """
    asked = list(pairs)
    beyond = (1 - LEVEL) / max(1, len(asked))
    levels = (LEVEL, 1 - beyond) if together else (LEVEL,)
    draws = max(resamples, math.ceil(2 * _DRAWS_OF_TAIL / beyond)) if together else resamples
    found = {}
    for first, second in asked:
        alone, *wider = difference_at(scores[first][metric], scores[second][metric], levels, draws, seed)
        found[first, second] = {"difference": alone.value, "low": alone.low, "high": alone.high, "n": alone.n}
        for wide in wider:
            found[first, second] |= {"all_low": min(wide.low, alone.low), "all_high": max(wide.high, alone.high)}
    return found
