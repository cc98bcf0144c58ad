"""Prices a teacher's usage, checks it against the budgets, and projects it to all questions."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.synthesis import TeacherSource
from workers.synthesis.teacher.cache import Spent


def usd(teacher: TeacherSource, spent: Spent) -> float:
    """Return the cost in USD by the recipe's prices."""
    return (spent.tokens_in * teacher.usd_per_million_in + spent.tokens_out * teacher.usd_per_million_out) / 1e6


def exhausted(teacher: TeacherSource, spent: Spent) -> str | None:
    """Return the key of the budget that is used up; None while there is some of each left."""
    if teacher.max_usd is not None and usd(teacher, spent) >= teacher.max_usd:
        return "max_usd"
    if teacher.max_tokens is not None and spent.tokens_in + spent.tokens_out >= teacher.max_tokens:
        return "max_tokens"
    if teacher.max_minutes is not None and spent.seconds >= 60 * teacher.max_minutes:
        return "max_minutes"
    return None


@dataclass(frozen=True)
class Projection:
    """The cost when all is asked, or when a budget ends the asking, whichever comes first."""

    usd: float
    tokens: int
    seconds: float


def projected(teacher: TeacherSource, spent: Spent, of: int) -> Projection | None:
    """Project the cost of `of` questions from that of those asked so far; None before the first."""
    if not spent.asked:
        return None
    share = _until_exhausted(teacher, spent, of / spent.asked)
    return Projection(usd(teacher, spent) * share, round((spent.tokens_in + spent.tokens_out) * share), spent.seconds * share)


def _until_exhausted(teacher: TeacherSource, spent: Spent, share: float) -> float:
    """Return how many times what is spent will be spent."""
    used = (
        (teacher.max_usd, usd(teacher, spent)),
        (teacher.max_tokens, spent.tokens_in + spent.tokens_out),
        (teacher.max_minutes, spent.seconds / 60),
    )
    return max(1.0, min([share, *(most / now for most, now in used if most is not None and now > 0)]))
