"""Measures how long a reviewer works at a row, and estimates the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from workers import clock

PAUSE = 60.0
"""Seconds without a key that count as work at most: whoever is away for longer was not reading."""


class Stopwatch:
    """Work at one row, in seconds: the time between two keys counts, but of a pause no more than `PAUSE`."""

    def __init__(self, now: Callable[[], float] = clock.now) -> None:
        self._now = now
        self.start()

    def start(self) -> None:
        """Start the clock: a row is shown."""
        self._worked = 0.0
        self._last = self._now()

    def touch(self) -> None:
        """Note that a key was hit."""
        now = self._now()
        self._worked += min(now - self._last, PAUSE)
        self._last = now

    def taken(self) -> float:
        """Return the seconds of work since `start`."""
        self.touch()
        return self._worked

    @property
    def idle(self) -> float:
        """Seconds since the last key."""
        return self._now() - self._last


@dataclass
class Tally:
    """One sitting: the verdicts in their order, each with its seconds, and how many rows rules changed."""

    verdicts: list[tuple[str, float]] = field(default_factory=list)
    by_rules: int = 0
    lost: int = 0

    @property
    def seconds_a_row(self) -> float | None:
        """The mean, None before the first row."""
        return sum(seconds for _, seconds in self.verdicts) / len(self.verdicts) if self.verdicts else None

    def __str__(self) -> str:
        kinds = list(dict.fromkeys(verdict for verdict, _ in self.verdicts))
        counted = ", ".join(f"{sum(verdict == kind for verdict, _ in self.verdicts)} {kind}" for kind in kinds)
        rows = f"{len(self.verdicts)} {'row' if len(self.verdicts) == 1 else 'rows'}" + f": {counted}" * bool(counted)
        rules = f", {self.by_rules} more by rules" if self.by_rules else ""
        pace = self.seconds_a_row
        return rows + rules + (f"; {pace:.1f} s a row" if pace is not None else "")


def span(seconds: float) -> str:
    """Return a duration as people say it: `40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
