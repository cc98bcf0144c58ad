"""Asks a teacher about a few tweets, and projects the cost of all. The run reuses these answers and pays nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection

from schemas.synthesis import SynthesisSpec
from workers import clock
from workers.database import transaction
from workers.errors import TweetmillError
from workers.inference.engine import EngineError
from workers.synthesis import inputs
from workers.synthesis.filters import ExampleFilters
from workers.synthesis.job import few_shot_pairs, questions
from workers.synthesis.plan import plan
from workers.synthesis.rows import DroppedRow
from workers.synthesis.teacher.budget import projected
from workers.synthesis.teacher.cache import Spent
from workers.synthesis.teacher.session import TeacherAnswers, ask_teacher


@dataclass(frozen=True)
class TeacherSample:
    """The examples, the factor from their number to that of the run, and the figures."""

    rows: list[DroppedRow]
    scale: float
    statistics: dict[str, Any]


class _WithoutJob:
    """The `workers.jobs.context.Context` of work without a job: nothing stops it, and its progress and log are discarded."""

    job = None
    pending_signal = None

    def check(self) -> None:
        """Do nothing: no signal can arrive."""

    def progress(self, **_: Any) -> None:
        """Discard it."""

    def log(self, message: str) -> None:
        """Discard it."""

    def flush(self) -> AbstractContextManager[Connection]:
        """Return a transaction without a fence: no lease is held."""
        return transaction()


def ask_sample(spec: SynthesisSpec, number: int) -> TeacherSample:
    """Ask about `number` tweets, those that the run asks first. A teacher that can't be asked is reported in the figures, not raised.

    All sources are read for it: which tweets are held back, and which pairs a prompt shows, is a matter of the whole.
    """
    assert spec.teacher is not None
    with transaction() as connection:
        read = inputs.read(connection, spec)
    planned = plan(spec, read)
    asked = questions(planned)
    few = asked[: number * len(spec.stages)]
    began = clock.now()
    try:
        answers = ask_teacher(_WithoutJob(), spec, few, few_shot_pairs(planned))
        rows = list(_judged(answers, spec))
    except (TweetmillError, EngineError) as error:
        return TeacherSample([], 1.0, {"model": spec.teacher.model, "of": len(asked), "error": str(error)})
    took = clock.now() - began
    tokens = [cast("dict[str, int]", each.row.lineage.get("tokens", {})) for each in rows]
    spent = Spent(len(rows), sum(each.get("in", 0) for each in tokens), sum(each.get("out", 0) for each in tokens), took)
    cached = int(answers.statistics.get("cached", 0))
    ahead = projected(spec.teacher, spent, len(asked))
    figures = {"model": spec.teacher.model, "of": len(asked), "looked_at": len(rows), "cached": cached}
    figures |= {"refused": sum(bool(each.reasons) for each in rows), "tokens_in": spent.tokens_in, "tokens_out": spent.tokens_out}
    if ahead is not None:
        # Answers that were known take no time, so that they tell nothing of it.
        seconds = None if cached else round(ahead.seconds, 1)
        figures["projected"] = {"usd": round(ahead.usd, 6), "tokens": ahead.tokens, "seconds": seconds}
    return TeacherSample(rows, len(asked) / len(rows) if rows else 1.0, figures)


def _judged(answers: TeacherAnswers, spec: SynthesisSpec) -> Iterator[DroppedRow]:
    filters = ExampleFilters(spec.filters, spec.near_duplicate)
    for row, reasons in answers.rows():
        yield DroppedRow(*filters.judge(row)) if not reasons else DroppedRow(row, reasons)
