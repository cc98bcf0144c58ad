"""Defines the interface of optional scorers, and what they score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workers.errors import UserError

WINDOW = 1024
"""Rows that are scored together: enough to find equal texts among the systems, few enough that memory does not grow with the rows."""

Array = NDArray[np.float64]
Outputs = Mapping[str, Sequence[str]]
"""By the name of a system: what it wrote, in the order of the rows."""

Tick = Callable[[int], None]
"""Hears of texts newly read, and may raise to stop."""


class UnusableScorer(UserError):
    """An optional scorer can't be used as it was asked for."""


@dataclass(frozen=True)
class Rows:
    """What the systems wrote for: tweets, as they were sent, and the references of each, at least one."""

    tweets: Sequence[str] = field(repr=False)
    references: Sequence[Sequence[str]] = field(repr=False)

    def windows(self) -> Iterator[slice]:
        """Yield the places of all rows in order, `WINDOW` at a time."""
        for start in range(0, len(self.tweets), WINDOW):
            yield slice(start, min(start + WINDOW, len(self.tweets)))


class Scorer(Protocol):
    """Scores rows by one metric, of which more is better.

    Attributes:
        metric: its key in results.
    """

    metric: str

    def describe(self) -> dict[str, Any]:
        """Return what scores, as JSON for the result: the model's name and how it is read."""
        ...

    def score(self, rows: Rows, outputs: Outputs, tick: Tick) -> dict[str, Array]:
        """Return for each system one score a row, shape (rows,). An empty output scores 0: it says nothing."""
        ...
