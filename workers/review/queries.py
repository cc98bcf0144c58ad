"""Queries how far a review is, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, text
from sqlmodel import Session, col, select

from schemas.tables.datasets import Review
from workers.review.claims import RowFilter, Verdict

_COUNTS = """
SELECT count(*) AS rows, count(*) FILTER (WHERE verdict IS NULL) AS left,
       count(*) FILTER (WHERE verdict IS NULL AND claimed_until > now()) AS claimed,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE verdict IS NOT NULL) AS seconds_a_row
FROM review WHERE dataset = :dataset
"""
# Looking up the example of each row takes ten times as long.
_COUNTS_OF_SOME = """
AND EXISTS (SELECT FROM example WHERE example.dataset = review.dataset AND example.key = review.key
            AND (cast(:origin AS text) IS NULL OR origin = :origin) AND (cast(:stage AS text) IS NULL OR stage = :stage))
"""
# What a rule decided for all took nobody's time.
_PACE = """
SELECT count(*) AS rows, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS seconds FROM review
WHERE dataset = ANY(:datasets) AND verdict IN ('accepted', 'edited') AND rule IS NULL AND seconds IS NOT NULL
"""
_REVIEWERS = """
SELECT reviewer, count(*) AS rows, count(*) FILTER (WHERE rule IS NOT NULL) AS by_rules,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS seconds_a_row, max(reviewed_at) AS last
FROM review WHERE dataset = :dataset AND verdict IS NOT NULL GROUP BY reviewer ORDER BY rows DESC, reviewer
"""
_DECISIONS = """
SELECT key, review.verdict, review.reviewer, review.reviewed_at, review.seconds, example.stage, example.origin, example.split,
       example.prompt_text AS prompt, example.target_text AS target, review.target_text AS edited,
       review.rule - 'before' - 'id' AS rule, review.value, review.reasons
FROM review JOIN example USING (dataset, key)
WHERE dataset = :dataset AND review.verdict IS NOT NULL ORDER BY review.reviewed_at, key
"""
# Whatever order they were given in: what matters is what is said.
_DIGEST = """
SELECT coalesce(sum(hashtextextended(concat_ws(' ', key, verdict, reviewer, target_text), 0)), 0)::text FROM review
WHERE dataset = :dataset AND verdict IN ('accepted', 'edited', 'rejected')
"""


def review_counts(session: Session, dataset: int, row_filter: RowFilter) -> dict[str, Any]:
    """Return the number of `rows`, how many are `left`, how many of these are `claimed`, and the median of `seconds_a_row`."""
    values: dict[str, Any] = {"dataset": dataset}
    if row_filter == RowFilter():
        return dict(session.connection().execute(text(_COUNTS), values).one()._mapping)
    values |= {"origin": row_filter.origin, "stage": row_filter.stage}
    return dict(session.connection().execute(text(_COUNTS + _COUNTS_OF_SOME), values).one()._mapping)


def status(session: Session, dataset: int, row_filter: RowFilter) -> dict[str, Any]:
    """Return the counts, the number of each verdict, and what each reviewer did."""
    by_verdict = select(Review.verdict, func.count()).where(Review.dataset == dataset, col(Review.verdict).is_not(None))
    given = dict(session.exec(by_verdict.group_by(col(Review.verdict))).all())
    reviewers = session.connection().execute(text(_REVIEWERS), {"dataset": dataset})
    return {
        **review_counts(session, dataset, row_filter),
        "verdicts": {verdict.value: given.get(verdict.value, 0) for verdict in Verdict},
        "reviewers": [dict(row._mapping) for row in reviewers],
    }


def pace(session: Session, datasets: Sequence[int]) -> tuple[int, float | None]:
    """Return how many rows of these datasets were accepted or edited one by one with the time taken, and the median in seconds."""
    rows, seconds = session.connection().execute(text(_PACE), {"datasets": list(datasets)}).one()
    return rows, seconds


def decisions(session: Session, dataset: int) -> list[dict[str, Any]]:
    """Return every verdict with its row, in the order in which they were given."""
    return [dict(row._mapping) for row in session.connection().execute(text(_DECISIONS), {"dataset": dataset})]


def verdicts_digest(session: Session, dataset: int) -> str | None:
    """Return a digest of all verdicts but those that skip, whatever their order; None where there is none."""
    digest: str = session.connection().execute(text(_DIGEST), {"dataset": dataset}).scalar_one()
    return None if digest == "0" else digest
