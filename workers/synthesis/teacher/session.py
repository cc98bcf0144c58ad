"""Asks a teacher to label tweets without a pair: each prompt once, each answer stored as it comes and judged by the checks.

answers = ask_teacher(attempt, spec, questions, pairs)   # asks what has no answer yet
for row, reasons in answers.rows(): ...                  # one row a tweet, with the reasons to drop it
answers.statistics                                       # for the job's result, complete once the rows are read
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlmodel import Session

from schemas.payloads import Stage
from schemas.synthesis import SynthesisSpec, TeacherSource
from schemas.tables.datasets import Teaching
from workers.database import session, transaction
from workers.inference.engine import EngineError
from workers.inference.remote.client import Refusal
from workers.jobs.context import Context
from workers.synthesis.rows import ExampleRow
from workers.synthesis.teacher import cache
from workers.synthesis.teacher.clients import Asked, Teacher
from workers.synthesis.teacher.factory import teacher_of
from workers.synthesis.teacher.prompt import Question, StagePrompt, is_wordy
from workers.synthesis.teacher.rounds import Rounds
from workers.synthesis.teacher.selection import select_candidate
from workers.synthesis.teacher.usage import Usage

__all__ = ["Question", "TeacherAnswers", "ask_teacher"]

_TWEETS_A_QUERY = 500
# The job still ends well if no more prompts than this have no answer, or one in fifty.
_UNANSWERED_ALLOWED = 3
_UNANSWERED_ALLOWED_IN = 50

Pairs = Mapping[Stage, Sequence[tuple[str, str]]]


def ask_teacher(attempt: Context, spec: SynthesisSpec, questions: Sequence[Question], pairs: Pairs) -> TeacherAnswers:
    """Ask the recipe's teacher about the tweets that are not answered yet; every answer is committed as it comes.

    Args:
        attempt: of the job; stopping it keeps what was answered.
        spec: a recipe with a teacher.
        questions: tweets of the training side, none of them near to what is held back.
        pairs: by stage, tweets and targets of curated pairs of the training side, to be shown.

    Raises:
        UserError: the prompt, the address, the key or the model is wrong, the account is used up, the server refuses all prompts, or
            nothing that it says can be learnt from; what was answered is kept.
        EngineError: the server is down, or the model can't be loaded; what was answered is kept for the next attempt.
    """
    assert spec.teacher is not None
    answers = TeacherAnswers(attempt, spec.teacher, questions, pairs)
    if not questions:
        return answers
    teacher = teacher_of(spec.teacher)
    try:
        answers.ask(teacher)
    finally:
        teacher.close()
    return answers


class TeacherAnswers:
    """The answers of a teacher to some questions.

    Attributes:
        usage: what they cost.
        statistics: their figures for the job's result.
    """

    def __init__(self, attempt: Context, source: TeacherSource, questions: Sequence[Question], pairs: Pairs) -> None:
        self._attempt = attempt
        self._source = source
        self._questions = questions
        stages = dict.fromkeys(question.stage for question in questions)
        self._prompts = {stage: StagePrompt(source, stage, pairs.get(stage, ())) for stage in stages}
        self._host = ""
        self._unanswered: dict[str, str] = {}
        self._errors = Counter[str]()
        self._failure: str | None = None
        self.usage = Usage(source, attempt)
        self.statistics: dict[str, Any] = {}

    def ask(self, teacher: Teacher) -> None:
        """Ask what has no answer yet, within the budgets."""
        self._host = teacher.host
        with transaction() as connection:
            before = cache.spent(connection, self._attempt.job)
        self.usage.begin(before, *self._count())
        rounds = Rounds(self._attempt, self._source, self.usage, teacher)
        try:
            rounds.ask(self._unknown())
            # What failed while others went through gets another chance: the server may have been restarted in between.
            rounds.ask(rounds.failed_before())
        except Refusal:
            raise
        except EngineError as failure:
            allowed = max(_UNANSWERED_ALLOWED, self.usage.prompts // _UNANSWERED_ALLOWED_IN)
            if not self.usage.has_answers or self.usage.left > allowed or not teacher.is_there():
                raise
            # The server lives, and has answered all others: it is these few tweets that it fails at.
            self._failure = str(failure)
        self._unanswered = {asked.fingerprint: error for asked, error in rounds.failed}
        self.statistics = self._figures(teacher)

    def rows(self) -> Iterator[tuple[ExampleRow, tuple[str, ...]]]:
        """Yield a row for each tweet that was answered, in the order of the questions, with the reasons not to learn from it.

        A tweet without a usable answer is such a row too, with an empty target. One that no budget was left for is not.
        """
        counts, refused = Counter[str](), Counter[str]()
        for batch in self._batches():
            with session() as database:
                stored = cache.known(database, [asked.fingerprint for asked, _ in batch])
            for asked, question in batch:
                row, reasons = self._row(asked, question, stored.get(asked.fingerprint))
                if row is not None:
                    counts["rejected" if reasons else "accepted"] += 1
                    refused.update(reason for reason in reasons if reason != "teacher_wordless")
                    self._errors.update([str(row.lineage["error"])] if "error" in row.lineage else ())
                    yield row, reasons
        self.statistics |= {"accepted": counts["accepted"], "rejected": counts["rejected"], "refused": dict(refused.most_common())}

    def advice(self) -> str:
        """Return the commonest error of tweets without an answer, as a sentence; empty where all had one."""
        return "".join(f"{error}. " for error, _ in self._errors.most_common(1))

    def _count(self) -> tuple[int, int]:
        """Return how many different prompts there are, and how many of them have an answer."""
        seen: set[str] = set()
        answered = 0
        for batch in self._batches():
            new = {asked.fingerprint for asked, _ in batch if is_wordy(asked.text)} - seen
            seen |= new
            with session() as database:
                answered += len(self._standing(database, list(new)))
        return len(seen), answered

    def _unknown(self) -> Iterator[Asked]:
        """Yield what has no answer, while there is a budget for it."""
        seen: set[str] = set()
        for batch in self._batches():
            new = {asked.fingerprint: asked for asked, _ in batch if is_wordy(asked.text) and asked.fingerprint not in seen}
            seen |= new.keys()
            with session() as database:
                stored = self._standing(database, list(new))
            for fingerprint, asked in new.items():
                if fingerprint in stored:
                    continue
                if not self.usage.budget_left():
                    return
                yield asked

    def _standing(self, database: Session, fingerprints: Sequence[str]) -> dict[str, Teaching]:
        """Return the stored answers that are not to be asked for again: this job asks for nothing twice."""
        known = cache.known(database, fingerprints)
        if self._source.ask_again is None:
            return known
        return {name: stored for name, stored in known.items() if stored.answers or stored.job == self._attempt.job}

    def _batches(self) -> Iterator[list[tuple[Asked, Question]]]:
        for start in range(0, len(self._questions), _TWEETS_A_QUERY):
            self._attempt.check()
            questions = self._questions[start : start + _TWEETS_A_QUERY]
            with session() as database:
                texts = cache.texts(database, [question.tweet_id for question in questions])
            yield [(self._asked(question, texts[question.tweet_id]), question) for question in questions if question.tweet_id in texts]

    def _asked(self, question: Question, text: str) -> Asked:
        prompt = self._prompts[question.stage]
        return Asked(prompt.fingerprint(text), question.tweet_id, text, prompt)

    def _figures(self, teacher: Teacher) -> dict[str, Any]:
        with transaction() as connection:
            spent = cache.spent(connection, self._attempt.job)
            at_half = cache.spent(connection, self._attempt.job, first=spent.asked // 2)
        return {
            "model": self._source.model,
            "engine": self._source.engine,
            "host": self._host,
            "structured": getattr(teacher, "structured", False),
            "asked_without": getattr(teacher, "asked_without", []),
            "prompt_sha256": {stage.value: prompt.prompt_sha256 for stage, prompt in self._prompts.items()},
            **self.usage.finish(spent, at_half, len(self._unanswered) if self._failure is None else self.usage.left),
        }

    def _row(self, asked: Asked, question: Question, stored: Teaching | None) -> tuple[ExampleRow | None, tuple[str, ...]]:
        lineage: dict[str, object] = {
            "tweet_id": asked.tweet_id,
            "teacher": {"model": self._source.model, "engine": self._source.engine, "host": self._host},
            "prompt_sha256": asked.prompt.prompt_sha256,
            "answers": asked.fingerprint,
        }
        if stored is not None and stored.answers:
            choice = select_candidate(asked.text, stored.answers, question.stage)
            lineage |= {"candidates": len(stored.answers), "candidate": choice.place, "scores": choice.scores}
            lineage |= {"tokens": {"in": stored.tokens_in, "out": stored.tokens_out}}
            return self._example(asked, question, choice.text, lineage), choice.reasons
        error = stored.error if stored is not None else self._unanswered.get(asked.fingerprint, self._failure)
        if not is_wordy(asked.text):
            return self._example(asked, question, "", lineage), ("teacher_wordless",)
        if error is None:
            return None, ()
        return self._example(asked, question, "", {**lineage, "error": error}), ("teacher_no_answer",)

    def _example(self, asked: Asked, question: Question, target: str, lineage: dict[str, object]) -> ExampleRow:
        return ExampleRow(question.stage, asked.text, target, "teacher", lineage, "train", question.cluster)
