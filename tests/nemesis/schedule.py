"""Plan when which fault strikes: a pure function of the seed, so that a storm can be repeated."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OVERLAP = 2
CALM_AT_FIRST = 2.0  # seconds
PAUSES = (2.0, 5.5)  # seconds between the beginnings of two faults
SHARED = frozenset({"workers", "ranks"})  # of these there are several: two faults may touch them at once


@dataclass(frozen=True)
class Kind:
    """One sort of fault.

    Attributes:
        name: what it is called.
        touches: what it hurts; two faults at once never hurt the same server.
        lasts: the shortest and the longest time until it is healed, seconds; zeros where it is over at once.
    """

    name: str
    touches: str
    lasts: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Strike:
    """One planned fault: `at` seconds after the beginning, healed `lasts` seconds later; `draw` chooses whom it hits."""

    at: float
    kind: str
    lasts: float
    draw: int

    @property
    def ends(self) -> float:
        """When it is to be healed."""
        return round(self.at + self.lasts, 2)


def plan(seed: int, seconds: float, kinds: Mapping[str, Kind]) -> list[Strike]:
    """The faults of a storm of `seconds`, in the order of their beginnings. Every kind comes once before any comes twice."""
    chance = random.Random(f"{seed}/{seconds:.3f}/{','.join(sorted(kinds))}")
    strikes: list[Strike] = []
    bag: list[str] = []
    now = CALM_AT_FIRST
    while True:
        bag = bag or chance.sample(sorted(kinds), len(kinds))
        now, name = _next(strikes, bag, now, kinds)
        bag.remove(name)
        lasts = round(chance.uniform(*kinds[name].lasts), 2)
        if now + lasts > seconds:
            return strikes
        strikes.append(Strike(at=now, kind=name, lasts=lasts, draw=chance.randrange(1 << 30)))
        now = round(now + chance.uniform(*PAUSES), 2)


def _next(strikes: Sequence[Strike], bag: Sequence[str], earliest: float, kinds: Mapping[str, Kind]) -> tuple[float, str]:
    """The first kind of the bag that may begin, and when."""
    moments = sorted({earliest, *(strike.ends for strike in strikes if strike.ends > earliest)})
    return next((moment, name) for moment in moments for name in bag if _may_begin(strikes, kinds[name], moment, kinds))


def _may_begin(strikes: Sequence[Strike], kind: Kind, moment: float, kinds: Mapping[str, Kind]) -> bool:
    under_way = [strike for strike in strikes if strike.at <= moment < strike.ends]
    touched = {kinds[strike.kind].touches for strike in under_way} - SHARED
    return len(under_way) < OVERLAP and kind.touches not in touched


def as_lines(strikes: Sequence[Strike]) -> list[str]:
    """The plan for people."""
    return [f"{strike.at:8.2f} s  {strike.kind:<22}" + (f" for {strike.lasts:.1f} s" if strike.lasts else "") for strike in strikes]
