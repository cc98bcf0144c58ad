"""Read a clock that can't be set and goes on while the machine is suspended, for durations that decide something."""

from __future__ import annotations

import time

# `time.monotonic` stands still on a suspended Linux machine, while its lease runs out. Elsewhere it does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return seconds since some moment in the past; only differences mean anything."""
    return time.clock_gettime(_CLOCK)
