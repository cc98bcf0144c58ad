"""Claims rows of a review: a reviewer claims a row, decides on it, and may take the verdict back.

The rows wait in `review`, the most telling first. A claim is a row's `claimed_until`: the very moment is the token that a verdict must
show, so that two terminals of one person differ like two persons. All of these moments are of Postgres's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, func, text
from sqlmodel import Session, col, update

from schemas.tables.datasets import Review
from workers.errors import UserError

CLAIM_SECONDS = 600.0  # a page renews while somebody works at it

_COLUMNS = """
review.dataset, review.key, review.reviewer, review.claimed_until AS until, review.value, review.reasons,
example.stage, example.prompt_text AS prompt, example.target_text AS target, example.origin, example.split, example.lineage
"""
_CLAIM = f"""
WITH next AS (
    SELECT review.key FROM review JOIN example USING (dataset, key)
    WHERE dataset = :dataset AND review.verdict IS NULL AND (review.claimed_until IS NULL OR review.claimed_until < now())
      AND (cast(:origin AS text) IS NULL OR example.origin = :origin) AND (cast(:stage AS text) IS NULL OR example.stage = :stage)
    ORDER BY review.value DESC, review.key LIMIT 1 FOR UPDATE OF review SKIP LOCKED
)
UPDATE review SET reviewer = :reviewer, claimed_until = clock_timestamp() + make_interval(secs => :seconds)
FROM next, example
WHERE review.dataset = :dataset AND review.key = next.key AND example.dataset = :dataset AND example.key = next.key
RETURNING {_COLUMNS}
"""  # noqa: S608
# A verdict that was carried over has neither seconds nor a rule's id: it was given elsewhere, and is not taken back here.
_LAST = """
SELECT key, verdict, target_text, rule->>'id' AS rule FROM review
WHERE dataset = :dataset AND reviewer = :reviewer AND verdict IS NOT NULL AND (seconds IS NOT NULL OR rule ? 'id')
ORDER BY reviewed_at DESC LIMIT 1 FOR UPDATE
"""
_UNDO = f"""
UPDATE review SET verdict = NULL, target_text = NULL, rule = NULL, seconds = NULL, reviewed_at = NULL,
    claimed_until = clock_timestamp() + make_interval(secs => :seconds)
FROM example WHERE review.dataset = :dataset AND review.key = :key AND example.dataset = review.dataset AND example.key = review.key
RETURNING {_COLUMNS}
"""  # noqa: S608
_UNDO_RULE = """
UPDATE review SET verdict = rule#>>'{before,verdict}', target_text = rule#>>'{before,target_text}', reviewer = rule#>>'{before,reviewer}',
    seconds = (rule#>>'{before,seconds}')::float, reviewed_at = (rule#>>'{before,reviewed_at}')::timestamptz,
    rule = nullif(rule#>'{before,rule}', 'null')
WHERE dataset = :dataset AND reviewer = :reviewer AND verdict IS NOT NULL AND rule->>'id' = :rule
"""


class Verdict(StrEnum):
    """What a person says of an example."""

    ACCEPTED = "accepted"
    EDITED = "edited"
    REJECTED = "rejected"
    SKIPPED = "skipped"


class ClaimLost(UserError):
    """The row went to another reviewer, since the claim on it had run out: this verdict was not stored."""


@dataclass(frozen=True)
class RowFilter:
    """Which rows of a dataset are to be reviewed; None: all."""

    origin: str | None = None
    stage: str | None = None


@dataclass(frozen=True)
class RowClaim:
    """A row that one reviewer, and nobody else, has before them."""

    dataset: int
    key: str
    reviewer: str
    until: datetime
    value: float
    reasons: tuple[str, ...]
    stage: str
    prompt: str
    target: str
    origin: str
    split: str
    lineage: Mapping[str, Any]
    draft: str | None = None
    """An edit of theirs that was taken back."""


@dataclass(frozen=True)
class Undone:
    """What was taken back: one verdict, whose row is before its reviewer again, or a rule on `rows` rows."""

    verdict: str
    claim: RowClaim | None
    rows: int = 1


def claim_row(session: Session, dataset: int, reviewer: str, row_filter: RowFilter, seconds: float = CLAIM_SECONDS) -> RowClaim | None:
    """Claim the most telling row that nobody has for `reviewer`; None when there is none."""
    values = {"dataset": dataset, "reviewer": reviewer, "origin": row_filter.origin, "stage": row_filter.stage, "seconds": seconds}
    row = session.connection().execute(text(_CLAIM), values).one_or_none()
    return None if row is None else _claimed(row)


def _claimed(row: Row[Any], draft: str | None = None) -> RowClaim:
    return RowClaim(**{**row._mapping, "reasons": tuple(row.reasons), "draft": draft})


def _held(claim: RowClaim) -> Any:
    """Update the row of a claim, as long as it stands."""
    return update(Review).where(
        col(Review.dataset) == claim.dataset,
        col(Review.key) == claim.key,
        col(Review.verdict).is_(None),
        col(Review.reviewer) == claim.reviewer,
        col(Review.claimed_until) == claim.until,
    )


def decide(session: Session, claim: RowClaim, verdict: Verdict, seconds: float, target: str | None = None) -> None:
    """Store a verdict; a claim that ran out still counts as long as nobody else took the row.

    Args:
        session: to the database.
        claim: on the row.
        verdict: what is said of it.
        seconds: of work, from when it was shown.
        target: the new text of an edit.

    Raises:
        ClaimLost: somebody else has the row, or had it.
    """
    values = {"verdict": verdict.value, "target_text": target, "seconds": round(seconds, 2)}
    stored = session.exec(_held(claim).values(**values, reviewed_at=func.clock_timestamp(), claimed_until=None))
    if not stored.rowcount:
        raise ClaimLost


def renew_claim(session: Session, claim: RowClaim, seconds: float = CLAIM_SECONDS) -> datetime | None:
    """Renew a claim; return its new end, or None when it is lost."""
    until = func.clock_timestamp() + timedelta(seconds=seconds)
    renewed: datetime | None = session.exec(_held(claim).values(claimed_until=until).returning(col(Review.claimed_until))).scalar()
    return renewed


def release_rows(session: Session, claims: Iterable[RowClaim]) -> None:
    """Give rows back without a verdict."""
    for each in claims:
        session.exec(_held(each).values(reviewer=None, claimed_until=None))


def undo(session: Session, dataset: int, reviewer: str, seconds: float = CLAIM_SECONDS) -> Undone | None:
    """Take back the last thing that `reviewer` said of this dataset, a rule with all its rows; None: there is nothing."""
    values = {"dataset": dataset, "reviewer": reviewer}
    connection = session.connection()
    last = connection.execute(text(_LAST), values).one_or_none()
    if last is None:
        return None
    if last.rule is not None:
        rows = connection.execute(text(_UNDO_RULE), values | {"rule": last.rule}).rowcount
        return Undone(last.verdict, None, rows)
    row = connection.execute(text(_UNDO), values | {"key": last.key, "seconds": seconds}).one()
    return Undone(last.verdict, _claimed(row, last.target_text))


def requeue_skipped(session: Session, dataset: int) -> int:
    """Put the rows that were skipped back into the queue; return how many."""
    skipped = update(Review).where(col(Review.dataset) == dataset, col(Review.verdict) == Verdict.SKIPPED.value)
    return session.exec(skipped.values(verdict=None, reviewer=None, seconds=None, reviewed_at=None)).rowcount
