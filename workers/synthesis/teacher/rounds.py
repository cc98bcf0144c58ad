"""Asks a teacher in rounds, stores the answers, and stops where asking on is of no use."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile

from schemas.synthesis import TeacherSource
from workers.errors import Unavailable, UserError
from workers.inference.remote.completions import Problem
from workers.jobs.context import Context
from workers.synthesis.teacher import cache
from workers.synthesis.teacher.clients import REFUSED, Answer, Asked, Teacher
from workers.synthesis.teacher.selection import select_candidate
from workers.synthesis.teacher.usage import Usage

_MOST_REFUSED_IN_A_ROW = 20  # prompts: then it is the server's fault, and nothing is kept against the tweets
_PATIENCE_AFTER_SUCCESS = 4  # times as many useless answers in a row are let pass once there was a useful one
_LIMITS = frozenset({Problem.THOUGHT.value, Problem.CUT.value})


class Rounds:
    """Rounds of questions. A refusal that may be the server's fault is only kept against a tweet once another one is answered.

    Args:
        attempt: of the job; stopping it ends a round.
        source: the recipe's teacher.
        usage: what the answers are counted in.
        teacher: who is asked.

    Attributes:
        failed: what has no answer though another try might get one, with the error.
    """

    def __init__(self, attempt: Context, source: TeacherSource, usage: Usage, teacher: Teacher) -> None:
        self._attempt = attempt
        self._source = source
        self._usage = usage
        self._teacher = teacher
        self._doubtful: list[tuple[Asked, Answer]] = []
        self._useless = Counter[str]()  # the reasons, since the last useful answer
        self._in_a_row = 0
        self._was_useful = False
        self.failed: list[tuple[Asked, str]] = []

    def failed_before(self) -> Iterator[Asked]:
        """Yield what failed so far, to be asked again while there is a budget for it."""
        again, self.failed = self.failed, []
        for place, (asked, _) in enumerate(again):
            if not self._usage.budget_left():
                self.failed += again[place:]
                return
            yield asked

    def ask(self, questions: Iterator[Asked]) -> None:
        """Ask one round of questions, and store what comes.

        Raises:
            UserError: the teacher answered none of many, or nothing that can be learnt from.
        """
        # What is under way when it is enough still comes, and is kept: it is paid for.
        for answered in self._teacher.answers(takewhile(lambda _: not self._enough, questions), self._attempt.check):
            self._usage.add_cost(answered)
            self.failed += [(asked, str(answer.error)) for asked, answer in answered if not answer.lasting]
            lasting = [(asked, answer) for asked, answer in answered if answer.lasting]
            self._doubtful += lasting
            self._weigh(lasting)
            self._keep_all_but(() if any(answer.texts for _, answer in lasting) else self._unsure())
        if self._doubtful and self._usage.has_answers and len(self._doubtful) < _MOST_REFUSED_IN_A_ROW:
            self._keep_all_but(())
        if self._doubtful:
            raise UserError(self._none(self._doubtful))
        if self._enough:
            raise UserError(self._no_use())

    def _unsure(self) -> Sequence[tuple[Asked, Answer]]:
        """Return what may be the server's fault: everything until it has answered, then whatever it refused for nothing."""
        if not self._usage.has_answers:
            return self._doubtful
        return [(asked, answer) for asked, answer in self._doubtful if answer.reason == REFUSED and not answer.tokens_in]

    def _keep_all_but(self, left: Sequence[tuple[Asked, Answer]]) -> None:
        """Store what came, and wait with what is `left`."""
        kept = [each for each in self._doubtful if each not in left]
        self._doubtful = list(left)
        if kept:
            self._store(kept)
            self._usage.add_kept(len(kept))

    def _store(self, answered: Sequence[tuple[Asked, Answer]]) -> None:
        """Commit answers; while Postgres is away, wait for as long as the lease may hold: they are paid for."""
        while True:
            try:
                with self._attempt.flush() as connection:
                    cache.store(connection, self._attempt.job, self._source.model, answered)
                return
            except Unavailable:
                if self._attempt.pending_signal is not None:
                    raise
                time.sleep(0.5)

    @property
    def _enough(self) -> bool:
        if len(self._doubtful) >= _MOST_REFUSED_IN_A_ROW:
            return True
        limit = self._source.give_up_after
        return limit is not None and self._in_a_row >= limit * (_PATIENCE_AFTER_SUCCESS if self._was_useful else 1)

    def _weigh(self, answered: Sequence[tuple[Asked, Answer]]) -> None:
        """Count answers that cost something and can't be learnt from."""
        for asked, answer in answered:
            if answer.texts:
                reasons: tuple[str, ...] = select_candidate(asked.text, answer.texts, asked.prompt.stage).reasons
            else:
                reasons = (answer.reason or "no_answer",)
            if reasons:
                self._in_a_row += 1
                self._useless.update(reasons)
            else:
                self._in_a_row, self._was_useful = 0, True
                self._useless.clear()

    def _none(self, doubtful: Sequence[tuple[Asked, Answer]]) -> str:
        errors = Counter(str(answer.error) for _, answer in doubtful)
        (commonest, number), *others = errors.most_common()
        why = commonest if not others else f"{number} times {commonest}; and {sum(count for _, count in others)} times something else"
        last = "the last " if self._usage.has_answers else ""
        return f"the teacher answered none of {last}{len(doubtful)} prompts, and nothing is kept of that: {why} ({self._usage.bill()})"

    def _no_use(self) -> str:
        counts = ", ".join(f"{reason} {number}" for reason, number in self._useless.most_common(8))
        if _LIMITS & self._useless.keys():
            advice = "raise teacher.answer_tokens"
        else:
            advice = "look at some with `--preview 5`, then change teacher.prompt, teacher.examples or teacher.model"
        return (
            f"none of the last {self._in_a_row} answers can be learnt from ({counts}), so no more are asked for ({self._usage.bill()});"
            f" they are kept. Next: {advice}; teacher.give_up_after=null asks on regardless"
        )
