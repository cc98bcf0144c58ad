"""Sums what a job asks of its teacher (answers, tokens, seconds, USD), checks it against the recipe's budgets, and shows it as progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.synthesis import TeacherSource
from workers import clock
from workers.jobs.context import Context
from workers.synthesis.teacher.budget import exhausted, projected, usd
from workers.synthesis.teacher.cache import Spent
from workers.synthesis.teacher.clients import Answer, Asked


class Usage:
    """The usage of one job, over all its attempts.

    Args:
        teacher: the recipe's, with prices and budgets.
        attempt: where progress is shown.

    Attributes:
        prompts: different prompts of the job.
        cached: how many of them other jobs had answered.
        to_ask: how many of them this attempt found without an answer.
        stopped_by: the budget that ended the asking, by its key.
    """

    def __init__(self, teacher: TeacherSource, attempt: Context) -> None:
        self._teacher = teacher
        self._attempt = attempt
        self._before = Spent()
        self._now = Spent()
        self._began = 0.0
        self._estimated = 0
        self._logged_half = False
        self.prompts = self.cached = self.to_ask = 0
        self.stopped_by: str | None = None

    def begin(self, before: Spent, prompts: int, answered: int) -> None:
        """Start the clock of this attempt.

        Args:
            before: what earlier attempts of the job spent.
            prompts: how many different prompts there are.
            answered: how many of them have an answer, from this job or another.
        """
        self._before = before
        self.prompts = prompts
        self.to_ask = prompts - answered
        self.cached = max(0, answered - before.asked)
        self._began = clock.now()

    @property
    def spent(self) -> Spent:
        """What the job has asked, in all its attempts."""
        return self._before + self._now

    @property
    def left(self) -> int:
        """How many prompts of this attempt have no answer that is kept."""
        return self.to_ask - self._now.asked

    @property
    def has_answers(self) -> bool:
        """Whether this teacher has answered anything, in this job or another."""
        return self.cached + self.spent.asked > 0

    def add_cost(self, answered: Sequence[tuple[Asked, Answer]]) -> None:
        """Add the tokens of answers, whether or not they are kept."""
        tokens_in = sum(answer.tokens_in for _, answer in answered)
        tokens_out = sum(answer.tokens_out for _, answer in answered)
        self._now += Spent(0, tokens_in, tokens_out)
        self._estimated += sum(answer.estimated for _, answer in answered)

    def add_kept(self, number: int) -> None:
        """Count answers that were stored, and show the progress."""
        self._now += Spent(number)
        self._show()

    def budget_left(self) -> bool:
        """Whether another question may be asked."""
        self.stopped_by = exhausted(self._teacher, self._timed())
        return self.stopped_by is None

    def bill(self) -> str:
        """Return what was spent, in words."""
        spent = self.spent
        return f"{spent.tokens_in + spent.tokens_out:,} tokens, {usd(self._teacher, spent):.4g} USD by the recipe's prices"

    def finish(self, spent: Spent, at_half: Spent, unanswered: int) -> dict[str, Any]:
        """Show the end of the asking, and return its figures for the job's result.

        Args:
            spent: what the job has asked, as it is stored.
            at_half: what the first half of that took.
            unanswered: prompts that were asked without an answer.
        """
        ahead = projected(self._teacher, at_half, self._before.asked + self.to_ask)
        figures = {
            "tokens_estimated": self._estimated,
            "tweets": self.prompts,
            "cached": self.cached,
            "asked": spent.asked,
            "unanswered": unanswered,
            "not_asked": {self.stopped_by: self.left - unanswered} if self.stopped_by and self.left > unanswered else {},
            "tokens_in": spent.tokens_in,
            "tokens_out": spent.tokens_out,
            "usd": round(usd(self._teacher, spent), 6),
            "seconds": round(spent.seconds, 1),
            "projected_at_half": None if ahead is None else {"usd": round(ahead.usd, 6), "seconds": round(ahead.seconds, 1)},
        }
        shown = {"asked": spent.asked, "cached": self.cached, "of": self.prompts, "tokens": spent.tokens_in + spent.tokens_out}
        self._attempt.progress(phase="taught", usd=figures["usd"], seconds_left=0, **shown)
        return figures

    def _timed(self) -> Spent:
        return self.spent + Spent(seconds=clock.now() - self._began)

    def _show(self) -> None:
        spent = self._timed()
        ahead = projected(self._teacher, spent, self._before.asked + self.to_ask)
        shown: dict[str, Any] = {"phase": "teacher", "asked": spent.asked, "cached": self.cached, "of": self.prompts}
        shown |= {"tokens": spent.tokens_in + spent.tokens_out, "usd": round(usd(self._teacher, spent), 6)}
        if ahead is not None:
            shown |= {"usd_projected": round(ahead.usd, 6), "seconds_left": round(max(0.0, ahead.seconds - spent.seconds), 1)}
            half = (self._before.asked + self.to_ask) / 2
            if spent.asked >= half > self._before.asked and not self._logged_half:
                self._logged_half = True
                self._attempt.log(
                    f"teacher: {spent.asked} of {2 * half:.0f} asked, {shown['usd']:g} USD and {spent.seconds:.0f} s so far, "
                    f"{ahead.usd:.6g} USD and {ahead.seconds:.0f} s projected"
                )
        self._attempt.progress(**shown)
