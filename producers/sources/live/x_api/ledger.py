"""Counts what was read of X and what it costs: the cursor of its stream, which itself has none."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime

from producers.sources.live import cursors

_MICROS = 1_000_000


@dataclass(frozen=True)
class Ledger:
    """What was read of a stream, over all its starts.

    Attributes:
        posts: how many, each as often as X sent it.
        micros: what they cost, in millionths of a dollar.
        newest: id of the last one.
        moment: when that was written.
    """

    posts: int = 0
    micros: int = 0
    newest: str | None = None
    moment: datetime | None = None

    def __str__(self) -> str:
        return json.dumps({"posts": self.posts, "usd_micros": self.micros, "id": self.newest, "time_us": cursors.stored(self.moment)})

    @classmethod
    def read(cls, cursor: str) -> Ledger:
        """Return what a stored cursor says.

        Raises:
            SourceError: it is not one of X.
        """
        try:
            stored = json.loads(cursor)
            ledger = cls(stored["posts"], stored["usd_micros"], stored["id"], cursors.moment_of(stored["time_us"]))
            if ledger.posts < 0 or ledger.micros < 0:
                raise ValueError
        except (ValueError, TypeError, KeyError, OverflowError):
            raise cursors.foreign("X") from None
        return ledger

    @property
    def usd(self) -> float:
        """What was spent, in dollars."""
        return self.micros / _MICROS

    def charged(self, posts: int, price: float) -> Ledger:
        """Return it with so many posts more, at this price in dollars each."""
        return replace(self, posts=self.posts + posts, micros=self.micros + posts * round(price * _MICROS))

    def at(self, newest: str | None, moment: datetime | None) -> Ledger:
        """Return it with another last post, as far as that is known."""
        return replace(self, newest=newest or self.newest, moment=moment or self.moment)

    def is_spent(self, cap: float, price: float) -> bool:
        """Whether another post would cost more than the cap."""
        return self.micros + round(price * _MICROS) > round(cap * _MICROS)

    def spent(self, cap: float) -> str:
        """Return in a sentence that the cap is reached, and what was had for it."""
        return f"--max-usd {cap:g} is reached: {self.posts} posts were read for ${self.usd:.3f}. A higher cap goes on from here"
