"""Compares what a canary wrote with what the model in service wrote beside it, and says whether it is worse, ready, or not known yet.

Rows of one shard are alike: they came in the same minutes and were written together. So shards are compared, not rows, and only with
those of the same block, which came at the same time. Blocks are put together until the candidate's part has enough rows; the difference
within each such group is one value of a sequential test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Literal

from workers.canary.sequential import bounds, evidence, evidence_of_share

ALPHA = 0.05
"""The chance that a candidate as good as the model in service is ever stopped, at most. Two rules share it: rows and failed shards."""

MARGIN = 0.02
"""A candidate is ready when it is surely worse by less than this share of faulty rows."""

GROUP_ROWS = 64
"""Rows of the candidate in a group: means of so many are nearly normal."""

FEWEST_GROUPS = 5
"""Before a candidate is ready: 320 rows at least."""

Verdict = Literal["undecided", "worse", "ready"]
MEASURES = {
    "faulty": "flagged or fallback",
    "fallbacks": "fallback",
    "retried": "written again",
    "words": "words a summary",
    "seconds": "seconds a tweet",
}
_SHARES = ("faulty", "fallbacks", "retried")


@dataclass
class Arm:
    """Sums over shards of one model: its rows, of them those that were faulty, and so on; `timed` are the rows that `seconds` are of."""

    rows: int = 0
    faulty: int = 0
    fallbacks: int = 0
    retried: int = 0
    words: int = 0
    timed: int = 0
    seconds: float = 0.0

    def add(self, other: Arm) -> None:
        """Add the sums of other shards."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def mean(self, measure: str) -> float | None:
        """Return a measure for one row; None where there is none."""
        rows = self.timed if measure == "seconds" else self.rows
        return float(getattr(self, measure)) / rows if rows else None


@dataclass
class Block:
    """What both models wrote in the same stretch of a stream."""

    candidate: Arm = field(default_factory=Arm)
    incumbent: Arm = field(default_factory=Arm)

    def add(self, other: Block) -> None:
        """Add what both wrote in another stretch."""
        self.candidate.add(other.candidate)
        self.incumbent.add(other.incumbent)

    def difference(self, measure: str) -> float | None:
        """Return the candidate's mean minus that of the model in service; None where either is not known."""
        ours, theirs = self.candidate.mean(measure), self.incumbent.mean(measure)
        return None if ours is None or theirs is None else ours - theirs


@dataclass(frozen=True)
class Figure:
    """A measure of both models; the difference, candidate minus model in service, with an interval that holds at every look (95%)."""

    candidate: float | None
    incumbent: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """How a canary does.

    Attributes:
        verdict: `worse`: it is to be stopped; `ready`: it may be promoted in full; else `undecided`.
        says: the same in a sentence.
        rows: of the candidate, and of the model in service.
        groups: of shards that were compared.
        failed: shards that failed for good, of either.
        figures: by measure.
    """

    verdict: Verdict
    says: str
    rows: tuple[int, int]
    groups: int
    failed: tuple[int, int]
    figures: dict[str, Figure]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def grouped(blocks: Iterable[Block]) -> list[Block]:
    """Put blocks together, in their order, until the candidate has `GROUP_ROWS` rows. One-sided blocks and the last few are left out."""
    groups: list[Block] = []
    open_group = Block()
    for block in blocks:
        if not block.candidate.rows or not block.incumbent.rows:
            continue
        open_group.add(block)
        if open_group.candidate.rows >= GROUP_ROWS:
            groups.append(open_group)
            open_group = Block()
    return groups


def compare(blocks: Sequence[Block], failed: tuple[int, int] = (0, 0), share: int = 10) -> Comparison:
    """Compare the two models of a canary.

    Args:
        blocks: in their order.
        failed: shards of the candidate and of the model in service that failed for good.
        share: percent of the shards that are the candidate's.
    """
    groups = grouped(blocks)
    total = Block()
    for block in blocks:
        total.add(block)
    figures = {measure: _figure(groups, total, measure) for measure in MEASURES}
    verdict, says = _verdict(groups, figures["faulty"], failed, share)
    return Comparison(verdict, says, (total.candidate.rows, total.incumbent.rows), len(groups), failed, figures)


def _figure(groups: Sequence[Block], total: Block, measure: str) -> Figure:
    ours, theirs = total.candidate.mean(measure), total.incumbent.mean(measure)
    differences = _differences(groups, measure)
    if len(differences) < 2:
        return Figure(ours, theirs)
    low, high = bounds(differences, ALPHA, _least_variance(groups, measure))
    unbounded = low == -float("inf")
    return Figure(ours, theirs, fmean(differences), None if unbounded else low, None if unbounded else high)


def _differences(groups: Sequence[Block], measure: str) -> list[float]:
    return [found for group in groups if (found := group.difference(measure)) is not None]


def _least_variance(groups: Sequence[Block], measure: str) -> float:
    """Return the variance of a group's difference if its rows were independent: rows of a shard vary together, so it is not less.

    The share is estimated with one row more of either kind (Laplace): a share of 0 in few rows is no proof that there are none.
    """
    if measure not in _SHARES or not groups:
        return 0.0
    rows = sum(group.candidate.rows + group.incumbent.rows for group in groups)
    hits = sum(getattr(group.candidate, measure) + getattr(group.incumbent, measure) for group in groups)
    share = float(hits + 1) / (rows + 2)
    return share * (1 - share) * fmean(1 / group.candidate.rows + 1 / group.incumbent.rows for group in groups)


def _verdict(groups: Sequence[Block], faulty: Figure, failed: tuple[int, int], share: int) -> tuple[Verdict, str]:
    enough = 2 / ALPHA
    if evidence_of_share(*failed, share / 100) >= enough:
        return "worse", f"worse: {failed[0]} of its shards failed, and {failed[1]} of the model in service"
    differences = _differences(groups, "faulty")
    speaks = evidence(differences, _least_variance(groups, "faulty"))
    rates = ""
    if faulty.candidate is not None and faulty.incumbent is not None:
        rates = f"{faulty.candidate:.1%} of its summaries are flagged or fallbacks, {faulty.incumbent:.1%} of the model in service"
    if speaks >= enough and fmean(differences) > 0:
        rows = sum(group.candidate.rows for group in groups)
        return "worse", f"worse: {rates} ({rows:,} tweets in {len(groups)} groups of shards)"
    if faulty.high is not None and len(groups) >= FEWEST_GROUPS and faulty.high < MARGIN:
        return "ready", f"ready to be promoted in full: {rates}, and it is surely worse by less than {100 * MARGIN:.0f} points"
    return "undecided", f"not decided yet: {rates}" if rates else "nothing is known yet"
