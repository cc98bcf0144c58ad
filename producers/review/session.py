"""What a reviewer's page asks of Postgres: each call is a transaction of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workers.database import transaction
from workers.review import bulk_edits
from workers.review import claims as review
from workers.review.bulk_edits import Change, Rule
from workers.review.claims import Claim, Undone, Verdict, Wanted


@dataclass(frozen=True)
class Desk:
    """One reviewer before one dataset."""

    dataset: int
    name: str
    reviewer: str
    wanted: Wanted

    def counts(self) -> dict[str, Any]:
        """How many rows there are, and how many are left."""
        with transaction() as connection:
            return review.counts(connection, self.dataset, self.wanted)

    def claim(self) -> Claim | None:
        """The next row; None: none waits."""
        with transaction() as connection:
            return review.claim(connection, self.dataset, self.reviewer, self.wanted)

    def decide(self, claim: Claim, verdict: Verdict, seconds: float, target: str | None) -> None:
        """Store a verdict.

        Raises:
            ClaimLost: somebody else has the row.
        """
        with transaction() as connection:
            review.decide(connection, claim, verdict, seconds, target)

    def renew(self, claim: Claim) -> datetime | None:
        """Keep a row for longer; None: it is lost."""
        with transaction() as connection:
            return review.renew(connection, claim)

    def release(self, claims: Iterable[Claim]) -> None:
        """Give rows back."""
        with transaction() as connection:
            review.release(connection, claims)

    def undo(self) -> Undone | None:
        """Take the last verdict or rule back."""
        with transaction() as connection:
            return review.undo(connection, self.dataset, self.reviewer)

    def preview(self, rule: Rule) -> tuple[int, list[Change]]:
        """How many rows a rule would change, and some of them."""
        with transaction() as connection:
            return bulk_edits.preview(connection, self.dataset, self.reviewer, rule)

    def apply(self, rule: Rule) -> int:
        """Edit every row that a rule changes."""
        with transaction() as connection:
            return bulk_edits.apply(connection, self.dataset, self.reviewer, rule)
