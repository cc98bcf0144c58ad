"""Calls Postgres for a review page, each call a transaction of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workers import database
from workers.review import bulk_edits, claims, queries
from workers.review.bulk_edits import Change, Rule
from workers.review.claims import RowClaim, RowFilter, Undone, Verdict


@dataclass(frozen=True)
class ReviewSession:
    """The review of one dataset by one person."""

    dataset: int
    name: str
    reviewer: str
    row_filter: RowFilter

    def counts(self) -> dict[str, Any]:
        """Return how many rows there are, and how many are left."""
        with database.session() as session:
            return queries.review_counts(session, self.dataset, self.row_filter)

    def claim(self) -> RowClaim | None:
        """Claim the next row; None when none waits."""
        with database.session() as session:
            return claims.claim_row(session, self.dataset, self.reviewer, self.row_filter)

    def decide(self, claim: RowClaim, verdict: Verdict, seconds: float, target: str | None) -> None:
        """Store a verdict.

        Raises:
            ClaimLost: somebody else has the row.
        """
        with database.session() as session:
            claims.decide(session, claim, verdict, seconds, target)

    def renew(self, claim: RowClaim) -> datetime | None:
        """Renew a claim; return its new end, or None when it is lost."""
        with database.session() as session:
            return claims.renew_claim(session, claim)

    def release(self, rows: Iterable[RowClaim]) -> None:
        """Give rows back."""
        with database.session() as session:
            claims.release_rows(session, rows)

    def undo(self) -> Undone | None:
        """Take the last verdict or rule back."""
        with database.session() as session:
            return claims.undo(session, self.dataset, self.reviewer)

    def preview(self, rule: Rule) -> tuple[int, list[Change]]:
        """Return how many rows a rule would change, and some of them."""
        with database.session() as session:
            return bulk_edits.preview(session, self.dataset, self.reviewer, rule)

    def apply(self, rule: Rule) -> int:
        """Edit every row that a rule changes."""
        with database.session() as session:
            return bulk_edits.apply(session, self.dataset, self.reviewer, rule)
