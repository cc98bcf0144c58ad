"""Growing pauses between two tries at a server."""

from __future__ import annotations

import random


class Pauses:
    """Pauses that double up to a bound, each shortened by chance so that many clients don't return at once.

    "Equal jitter" of Marc Brooker, Exponential Backoff and Jitter, 2015: half of the pause is certain, half is drawn.

    Args:
        first: seconds.
        longest: seconds.
        step: seconds that a pause is longer than the one before it, instead of twice as long.
        chance: between which parts of a pause is drawn.

    Attributes:
        tries: how many pauses were made since the last reset.
    """

    def __init__(self, first: float, longest: float, step: float | None = None, chance: tuple[float, float] = (0.5, 1.0)) -> None:
        self._first, self._longest, self._step, self._chance = first, longest, step, chance
        self.tries = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        # A float of 2**1024 does not exist, and no bound is that far away.
        grown = self._first * 2.0 ** min(self.tries, 64) if self._step is None else self._first + self._step * self.tries
        self.tries += 1
        return min(self._longest, min(self._longest, grown) * random.uniform(*self._chance))

    def reset(self) -> None:
        """Begin anew: the server works."""
        self.tries = 0
