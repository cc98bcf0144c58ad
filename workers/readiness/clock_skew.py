"""Measure how far this machine's clock is from a server's, and judge whether that is too far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

Clock = Callable[[], float]

CLOCK_TOLERANCE = 1.0
"""Seconds by which a worker's clock may differ from a server's."""


def clock_ahead(ask: Callable[[], float], clock: Clock = time.time) -> float:
    """Return by how many seconds this machine's clock is at least ahead of a server's; below 0 when it is behind.

    The server's answer belongs to the middle of the round trip, give or take half of it, and that half is subtracted. The quickest of
    three answers counts.
    """
    best = (math.inf, 0.0)
    for _ in range(3):
        asked = clock()
        server = ask()
        answered = clock()
        best = min(best, (abs(answered - asked), (asked + answered) / 2 - server))
    round_trip, ahead = best
    return math.copysign(max(0.0, abs(ahead) - round_trip / 2), ahead)


def clock_of(server: str, ahead: float) -> str | None:
    """Return why the clocks are too far apart: a worker that is ahead takes messages for lost that others have just begun."""
    if abs(ahead) <= CLOCK_TOLERANCE:
        return None
    direction = "ahead of" if ahead > 0 else "behind"
    return f"this machine's clock is {abs(ahead):.1f} s {direction} {server}'s: let NTP set both (timedatectl shows whether it does)"
