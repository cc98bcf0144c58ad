"""Selects the teacher's candidate that costs least by the checks, and rejects it if that is too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.payloads import Stage
from workers.text.checks import check
from workers.text.constraints import faithful
from workers.text.english.words import WORD

ACCEPTED_BELOW = 3.0
"""A candidate that costs less by `checks.check` is accepted, as seven of eight curated pairs are. Broken output constraints, a number, a
name or a negation of its own, a repetition, a fragment and a turned question cost as much or more."""


@dataclass(frozen=True)
class SelectedCandidate:
    """The candidate that was taken, or the best of those that were refused.

    Attributes:
        text: of the candidate.
        place: among the candidates, from 0.
        cost: what speaks against it, by the price list of the checks.
        flags: the names of that.
        agreement: how alike the other candidates are, from 0 to 1; None without others.
        reasons: why it is not learnt from; none if it is.
    """

    text: str
    place: int
    cost: float
    flags: tuple[str, ...]
    agreement: float | None
    reasons: tuple[str, ...]

    @property
    def scores(self) -> dict[str, object]:
        """For the lineage."""
        return {"cost": self.cost, "flags": list(self.flags), "agreement": self.agreement}


def select_candidate(tweet: str, candidates: Sequence[str], stage: Stage) -> SelectedCandidate:
    """Judge the candidates, of which there is at least one. Of equally good ones the one is taken that the others agree with most.

    Args:
        tweet: as it was sent.
        candidates: the greedy one first; the same text may come twice, and then agrees with itself.
        stage: what was asked for.
    """
    judged = [_judged(tweet, candidates, place, stage) for place in range(len(candidates))]
    return min(judged, key=lambda one: (bool(one.reasons), one.cost, -(one.agreement or 0.0), one.place))


def _judged(tweet: str, candidates: Sequence[str], place: int, stage: Stage) -> SelectedCandidate:
    text = candidates[place]
    verdict = check(tweet, text, stage)
    reasons = [*verdict.flags] if verdict.cost >= ACCEPTED_BELOW else []
    if not faithful(tweet, text):
        reasons.append("faithful")
    others = [other for at, other in enumerate(candidates) if at != place]
    agreement = round(sum(_alike(text, other) for other in others) / len(others), 3) if others else None
    return SelectedCandidate(text, place, verdict.cost, verdict.flags, agreement, tuple(f"teacher_{reason}" for reason in reasons))


def _alike(one: str, other: str) -> float:
    """Return the F1 of the words that two texts share: 1 for the same words."""
    ours, theirs = (Counter(word.lower() for word in WORD.findall(text)) for text in (one, other))
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 1.0
