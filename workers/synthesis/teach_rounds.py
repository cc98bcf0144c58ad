"""Rounds of questions to a teacher, and what is kept of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workers.errors import UserError
from workers.synthesis.teach_asking import Answer, Asked, Teacher

if TYPE_CHECKING:
    from workers.synthesis.teaching import Taught

_FAITH = 20  # prompts refused by a server that has answered none: then it is the server's fault, and nothing is kept against the tweets


class Asking:
    """Rounds of questions. A refusal is only kept against a tweet once the server has answered another one."""

    def __init__(self, taught: Taught, teacher: Teacher) -> None:
        self._taught = taught
        self._teacher = teacher
        self._doubtful: list[tuple[Asked, Answer]] = []
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
        """Ask these and keep what comes."""
        for answered in self._teacher.answers(questions, self._taught.check):
            self.failed += [(asked, str(answer.error)) for asked, answer in answered if not answer.lasting]
            self._doubtful += [(asked, answer) for asked, answer in answered if answer.lasting]
            proved = self._taught.has_answers or any(answer.texts for _, answer in self._doubtful)
            if proved and self._doubtful:
                kept, self._doubtful = self._doubtful, []
                self._taught.keep(kept)
                self._taught.count_in(kept)
            elif len(self._doubtful) >= _FAITH:
                break
        if self._doubtful:
            told = self._doubtful[0][1].error
            raise UserError(f"the teacher answered none of {len(self._doubtful)} prompts, and nothing is kept of that: {told}")
