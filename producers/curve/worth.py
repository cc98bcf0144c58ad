"""What a gain has to be to count: a number of points, or points for each hour of writing pairs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MINUTES_A_PAIR = 2.0
"""Where nobody says how long a pair takes to write."""

_WORTH = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(?:sari)?\s*(/\s*h(?:our)?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Worth:
    """The smallest gain that counts.

    Attributes:
        gain: in points of the figure; None: the default of `workers.curves`.
        an_hour: whether that is for each hour of writing pairs.
        minutes: to write one pair.
    """

    gain: float | None = None
    an_hour: bool = False
    minutes: float = MINUTES_A_PAIR

    def hours(self, pairs: float) -> float:
        """Return the hours that so many pairs take to write."""
        return pairs * self.minutes / 60

    def smallest(self, pairs: float) -> float | None:
        """Return the gain that counts for so many pairs more, in points."""
        return self.gain * self.hours(pairs) if self.an_hour and self.gain is not None else self.gain

    def cost(self, pairs: float, gain: float) -> dict[str, Any]:
        """Return what so many pairs cost and what an hour of it brings, as plain JSON."""
        hours = self.hours(pairs)
        return {"pairs": pairs, "minutes_a_pair": self.minutes, "hours": hours, "gain_an_hour": gain / hours if hours else None}


def parse(text: str | None, minutes: float) -> Worth:
    """Read `0.5`, `0.5/hour` or `0.5sari/hour`.

    Raises:
        ValueError: it is none of these.
    """
    if text is None:
        return Worth(minutes=minutes)
    found = _WORTH.fullmatch(text.strip())
    if found is None:
        raise ValueError("give points, or points for an hour of writing pairs: 0.5, 0.5/hour or 0.5sari/hour")
    return Worth(float(found[1]), found[2] is not None, minutes)
