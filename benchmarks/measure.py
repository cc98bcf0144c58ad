"""Ways to do the same thing, measured in turn.

A figure in seconds says as much about the machine and its other tenants as about the code. So the ways take turns, each round gives
one ratio, and the spread of the ratios tells how far to trust them.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

ROUNDS = 3
"""Fewer say nothing about the spread."""


class CannotRun(Exception):
    """A benchmark lacks something; the message says how to get it."""


class Report(Protocol):
    """What a benchmark found."""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""

    def lines(self) -> list[str]:
        """For people."""


@dataclass(frozen=True)
class Way:
    """One way to do it. `run` is timed and returns how many units it did; `prepare` goes before it and is not."""

    name: str
    run: Callable[[], int]
    prepare: Callable[[], None] | None = None


@dataclass(frozen=True)
class Comparison:
    """What came of it. `ratios[way][round]`: how many times as long `way` took as `subject` did in the same round."""

    subject: str
    unit: str
    units: int
    ratios: dict[str, list[float]]
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "subject": self.subject,
            "n": self.units,
            "unit": self.unit,
            "times_as_long_as_subject": {way: spread(ratios) for way, ratios in self.ratios.items()},
            "notes": self.notes,
        }

    def lines(self) -> list[str]:
        """For people."""
        told = [f"{self.subject}, {self.units} {self.unit}:"]
        for way, ratios in self.ratios.items():
            found = spread(ratios)
            told.append(
                f"  {way} takes {found['median']:.2f} times as long "
                f"(min {found['min']:.2f}, median {found['median']:.2f}, max {found['max']:.2f}; {len(ratios)} rounds)"
            )
        return told + [f"  {note}" for note in self.notes]


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """The least, the middle and the greatest of the ratios."""
    figures = {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)}
    return {name: round(value, 3) for name, value in figures.items()}


def compare(subject: Way, others: Sequence[Way], unit: str, rounds: int = ROUNDS, *, warm: bool = False) -> Comparison:
    """Measure `subject` and `others` in turn: one round that does not count, then `rounds` that do, each in another order.

    The round that does not count is left out where the ways are `warm` already.

    Raises:
        ValueError: fewer than three rounds, or the ways did not do the same number of units.
    """
    if rounds < ROUNDS:
        raise ValueError(f"at least {ROUNDS} rounds, not {rounds}")
    ways = [subject, *others]
    if not warm:
        _round(ways)
    ratios: dict[str, list[float]] = {way.name: [] for way in others}
    units = 0
    for number in range(rounds):
        turn = number % len(ways)
        seconds, units = _round(ways[turn:] + ways[:turn])
        for way in others:
            ratios[way.name].append(seconds[way.name] / seconds[subject.name])
    return Comparison(subject.name, unit, units, ratios)


def _round(ways: Sequence[Way]) -> tuple[dict[str, float], int]:
    """Return the seconds of each way, and how many units each of them did."""
    timed = {way.name: _timed(way) for way in ways}
    units = {name: did for name, (_, did) in timed.items()}
    if len(set(units.values())) != 1:
        raise ValueError(f"the ways did not do the same: {units}")
    return {name: seconds for name, (seconds, _) in timed.items()}, next(iter(units.values()))


def _timed(way: Way) -> tuple[float, int]:
    if way.prepare is not None:
        way.prepare()
    started = time.perf_counter()
    units = way.run()
    return time.perf_counter() - started, units


def machine() -> dict[str, object]:
    """What the figures were measured on. A high load says that they had company."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
