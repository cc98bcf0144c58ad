"""What a gain has to be to count: a number of points, or points for each hour of writing pairs."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORTH = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(?:sari)?\s*(/\s*h(?:our)?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Worth:
    """The smallest gain that counts.

    Attributes:
        gain: in points of the figure; None: the default of `workers.curves`.
        an_hour: whether that is for each hour of writing pairs.
    """

    gain: float | None = None
    an_hour: bool = False

    def smallest(self, hours: float) -> float | None:
        """Return the gain that counts for so many hours of writing, in points."""
        return self.gain * hours if self.an_hour and self.gain is not None else self.gain


def parse(text: str | None) -> Worth:
    """Read `0.5`, `0.5/hour` or `0.5sari/hour`.

    Raises:
        ValueError: it is none of these.
    """
    if text is None:
        return Worth()
    found = _WORTH.fullmatch(text.strip())
    if found is None:
        raise ValueError("give points, or points for an hour of writing pairs: 0.5, 0.5/hour or 0.5sari/hour")
    return Worth(float(found[1]), found[2] is not None)
