"""Rounds of questions to a teacher, what is kept of the answers, and when it is no use to ask on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from workers.errors import UserError
from workers.inference.remote.completions import Problem
from workers.synthesis.teacher.clients import REFUSED, Answer, Asked, Teacher
from workers.synthesis.teacher.selection import choose

if TYPE_CHECKING:
    from workers.synthesis.teacher.session import Taught

_FAITH = 20  # prompts in a row that a server refuses: then it is the server's fault, and nothing is kept against the tweets
_LATER = 4  # times as many useless answers in a row are let pass once there was a useful one
_LIMITS = frozenset({Problem.THOUGHT.value, Problem.CUT.value})


class Asking:
    """Rounds of questions. A refusal that may be the server's fault is only kept against a tweet once another one is answered.

    Args:
        taught: what keeps and counts the answers.
        teacher: who is asked.
        give_up_after: paid answers in a row without one to learn from; None: never.
    """

    def __init__(self, taught: Taught, teacher: Teacher, give_up_after: int | None) -> None:
        self._taught = taught
        self._teacher = teacher
        self._give_up_after = give_up_after
        self._doubtful: list[tuple[Asked, Answer]] = []
        self._useless = Counter[str]()  # the reasons, since the last useful answer
        self._in_a_row = 0
        self._was_useful = False
        self.failed: list[tuple[Asked, str]] = []

    def failed_before(self) -> Iterator[Asked]:
        """What failed so far, to be asked again while there is a budget for it."""
        again, self.failed = self.failed, []
        for place, (asked, _) in enumerate(again):
            if not self._taught.budget_left():
                self.failed += again[place:]
                return
            yield asked

    def round(self, questions: Iterator[Asked]) -> None:
        """Ask these and keep what comes.

        Raises:
            UserError: the teacher answered none of many, or nothing that can be learnt from.
        """
        # What is under way when it is enough still comes, and is kept: it is paid for.
        for answered in self._teacher.answers(takewhile(lambda _: not self._enough, questions), self._taught.check):
            self._taught.spend(answered)
            self.failed += [(asked, str(answer.error)) for asked, answer in answered if not answer.lasting]
            lasting = [(asked, answer) for asked, answer in answered if answer.lasting]
            self._doubtful += lasting
            self._weigh(lasting)
            self._keep_all_but(() if any(answer.texts for _, answer in lasting) else self._unsure())
        if self._doubtful and self._taught.has_answers and len(self._doubtful) < _FAITH:
            self._keep_all_but(())
        if self._doubtful:
            raise UserError(self._none(self._doubtful))
        if self._enough:
            raise UserError(self._no_use())

    def _unsure(self) -> Sequence[tuple[Asked, Answer]]:
        """What may be the server's fault: everything until it has answered, then whatever it refused for nothing."""
        if not self._taught.has_answers:
            return self._doubtful
        return [(asked, answer) for asked, answer in self._doubtful if answer.reason == REFUSED and not answer.tokens_in]

    def _keep_all_but(self, left: Sequence[tuple[Asked, Answer]]) -> None:
        """Keep what came, and wait with what is `left`."""
        kept = [each for each in self._doubtful if each not in left]
        self._doubtful = list(left)
        if kept:
            self._taught.keep(kept)
            self._taught.count_in(kept)

    @property
    def _enough(self) -> bool:
        if len(self._doubtful) >= _FAITH:
            return True
        limit = self._give_up_after
        return limit is not None and self._in_a_row >= limit * (_LATER if self._was_useful else 1)

    def _weigh(self, answered: Sequence[tuple[Asked, Answer]]) -> None:
        """Count answers that cost something and can't be learnt from."""
        for asked, answer in answered:
            if answer.texts:
                reasons: tuple[str, ...] = choose(asked.text, answer.texts, asked.lesson.stage).reasons
            else:
                reasons = (answer.reason or "no_answer",)
            if reasons:
                self._in_a_row += 1
                self._useless.update(reasons)
            else:
                self._in_a_row, self._was_useful = 0, True
                self._useless.clear()

    def _none(self, doubtful: Sequence[tuple[Asked, Answer]]) -> str:
        told = Counter(str(answer.error) for _, answer in doubtful)
        (commonest, number), *others = told.most_common()
        why = commonest if not others else f"{number} times {commonest}; and {sum(count for _, count in others)} times something else"
        last = "the last " if self._taught.has_answers else ""
        return f"the teacher answered none of {last}{len(doubtful)} prompts, and nothing is kept of that: {why} ({self._taught.bill()})"

    def _no_use(self) -> str:
        counts = ", ".join(f"{reason} {number}" for reason, number in self._useless.most_common(8))
        if _LIMITS & self._useless.keys():
            advice = "raise teacher.answer_tokens"
        else:
            advice = "look at some with `--preview 5`, then change teacher.prompt, teacher.examples or teacher.model"
        return (
            f"none of the last {self._in_a_row} answers can be learnt from ({counts}), so no more are asked for ({self._taught.bill()});"
            f" they are kept. Next: {advice}; teacher.give_up_after=null asks on regardless"
        )
