"""Review of a dataset's examples by people: who has which row before them, what they said, and how to take it back.

The rows wait in `review`, the most telling first. A claim is a row's `claimed_until`: the very moment is the token that a verdict must
show, so that two terminals of one person are told apart like two persons. All of these moments are Postgres's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, text

from workers.errors import UserError

CLAIM_SECONDS = 600.0  # a page renews while somebody works at it


class Verdict(StrEnum):
    """What a person says of an example."""

    ACCEPTED = "accepted"
    EDITED = "edited"
    REJECTED = "rejected"
    SKIPPED = "skipped"


class ClaimLost(UserError):
    """The row went to another reviewer, since the claim on it had run out: this verdict was not stored."""


@dataclass(frozen=True)
class Wanted:
    """Which rows of a dataset somebody wants to look at; None: all."""

    origin: str | None = None
    stage: str | None = None


@dataclass(frozen=True)
class Claim:
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
    claim: Claim | None
    rows: int = 1


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


def claim(connection: Connection, dataset: int, reviewer: str, wanted: Wanted, seconds: float = CLAIM_SECONDS) -> Claim | None:
    """Put the most telling row that nobody has before `reviewer`; None when there is none."""
    values = {"dataset": dataset, "reviewer": reviewer, "origin": wanted.origin, "stage": wanted.stage, "seconds": seconds}
    row = connection.execute(text(_CLAIM), values).one_or_none()
    return None if row is None else _claimed(row)


def _claimed(row: Row[Any], draft: str | None = None) -> Claim:
    return Claim(**{**row._mapping, "reasons": tuple(row.reasons), "draft": draft})


_HELD = "dataset = :dataset AND key = :key AND verdict IS NULL AND reviewer = :reviewer AND claimed_until = :until"
_DECIDE = f"""
UPDATE review SET verdict = :verdict, target_text = :target, seconds = :seconds, reviewed_at = clock_timestamp(), claimed_until = NULL
WHERE {_HELD}
"""  # noqa: S608
_RENEW = f"""
UPDATE review SET claimed_until = clock_timestamp() + make_interval(secs => :seconds) WHERE {_HELD} RETURNING claimed_until
"""  # noqa: S608
_RELEASE = f"UPDATE review SET reviewer = NULL, claimed_until = NULL WHERE {_HELD}"  # noqa: S608


def _held(claim: Claim) -> dict[str, Any]:
    return {"dataset": claim.dataset, "key": claim.key, "reviewer": claim.reviewer, "until": claim.until}


def decide(connection: Connection, claim: Claim, verdict: Verdict, seconds: float, target: str | None = None) -> None:
    """Store a verdict; a claim that ran out still counts as long as nobody else took the row.

    Args:
        connection: to the database.
        claim: on the row.
        verdict: what is said of it.
        seconds: of work, from when it was shown.
        target: the new text of an edit.

    Raises:
        ClaimLost: somebody else has the row, or had it.
    """
    values = _held(claim) | {"verdict": verdict.value, "seconds": round(seconds, 2), "target": target}
    if not connection.execute(text(_DECIDE), values).rowcount:
        raise ClaimLost


def renew(connection: Connection, claim: Claim, seconds: float = CLAIM_SECONDS) -> datetime | None:
    """Prolong a claim; its new end, or None when it is lost."""
    return connection.execute(text(_RENEW), _held(claim) | {"seconds": seconds}).scalar()


def release(connection: Connection, claims: Iterable[Claim]) -> None:
    """Give rows back without a verdict."""
    for each in claims:
        connection.execute(text(_RELEASE), _held(each))


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


def undo(connection: Connection, dataset: int, reviewer: str, seconds: float = CLAIM_SECONDS) -> Undone | None:
    """Take back the last thing that `reviewer` said of this dataset, a rule with all its rows; None: there is nothing."""
    values = {"dataset": dataset, "reviewer": reviewer}
    last = connection.execute(text(_LAST), values).one_or_none()
    if last is None:
        return None
    if last.rule is not None:
        rows = connection.execute(text(_UNDO_RULE), values | {"rule": last.rule}).rowcount
        return Undone(last.verdict, None, rows)
    row = connection.execute(text(_UNDO), values | {"key": last.key, "seconds": seconds}).one()
    return Undone(last.verdict, _claimed(row, last.target_text))


_BRING_SKIPPED = """
UPDATE review SET verdict = NULL, reviewer = NULL, seconds = NULL, reviewed_at = NULL WHERE dataset = :dataset AND verdict = 'skipped'
"""


def bring_skipped(connection: Connection, dataset: int) -> int:
    """Let the rows that were skipped wait again; return how many."""
    return connection.execute(text(_BRING_SKIPPED), {"dataset": dataset}).rowcount


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
_VERDICTS = "SELECT verdict, count(*) AS rows FROM review WHERE dataset = :dataset AND verdict IS NOT NULL GROUP BY verdict"
_REVIEWERS = """
SELECT reviewer, count(*) AS rows, count(*) FILTER (WHERE rule IS NOT NULL) AS by_rules,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS seconds_a_row, max(reviewed_at) AS last
FROM review WHERE dataset = :dataset AND verdict IS NOT NULL GROUP BY reviewer ORDER BY rows DESC, reviewer
"""


def counts(connection: Connection, dataset: int, wanted: Wanted) -> dict[str, Any]:
    """`rows`, how many are `left`, how many of these are `claimed`, and the median of `seconds_a_row`."""
    values: dict[str, Any] = {"dataset": dataset}
    if wanted == Wanted():
        return dict(connection.execute(text(_COUNTS), values).one()._mapping)
    values |= {"origin": wanted.origin, "stage": wanted.stage}
    return dict(connection.execute(text(_COUNTS + _COUNTS_OF_SOME), values).one()._mapping)


def status(connection: Connection, dataset: int, wanted: Wanted) -> dict[str, Any]:
    """The counts, the verdicts, and each reviewer's share."""
    told = counts(connection, dataset, wanted)
    given = {row.verdict: row.rows for row in connection.execute(text(_VERDICTS), {"dataset": dataset})}
    told["verdicts"] = {verdict.value: given.get(verdict.value, 0) for verdict in Verdict}
    told["reviewers"] = [dict(row._mapping) for row in connection.execute(text(_REVIEWERS), {"dataset": dataset})]
    return told


_DECISIONS = """
SELECT key, review.verdict, review.reviewer, review.reviewed_at, review.seconds, example.stage, example.origin, example.split,
       example.prompt_text AS prompt, example.target_text AS target, review.target_text AS edited,
       review.rule - 'before' - 'id' AS rule, review.value, review.reasons
FROM review JOIN example USING (dataset, key)
WHERE dataset = :dataset AND review.verdict IS NOT NULL ORDER BY review.reviewed_at, key
"""


def decisions(connection: Connection, dataset: int) -> list[dict[str, Any]]:
    """Every verdict with its row, in the order in which they were given."""
    return [dict(row._mapping) for row in connection.execute(text(_DECISIONS), {"dataset": dataset})]
