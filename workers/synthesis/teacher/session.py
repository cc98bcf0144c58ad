"""A teacher's answers to tweets that nobody has paired: asked once, kept row by row, judged by the house's checks.

lesson = teaching.teach(attempt, spec, questions, pairs)   # asks what is not known yet
for row, reasons in lesson.rows(): ...                     # one row a tweet, with the reasons to drop it
lesson.told                                                # for the job's result, complete once the rows are drawn
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from schemas.payloads import Stage
from schemas.synthesis import SynthesisSpec, TeacherSource
from workers import clock
from workers.database import transaction
from workers.errors import Unavailable
from workers.inference.engine import EngineError
from workers.inference.remote.client import Refusal
from workers.jobs.context import Context
from workers.synthesis.rows import ExampleRow
from workers.synthesis.teacher import cache as teach_cache
from workers.synthesis.teacher.budget import exhausted, projected, usd
from workers.synthesis.teacher.cache import Spent
from workers.synthesis.teacher.clients import Answer, Asked, Teacher
from workers.synthesis.teacher.factory import teacher_of
from workers.synthesis.teacher.prompt import Lesson, Question, is_wordy
from workers.synthesis.teacher.rounds import Asking
from workers.synthesis.teacher.selection import choose

__all__ = ["Question", "Taught", "teach"]

_TOGETHER = 500  # tweets that are looked up together
_LET_GO = 3  # tweets, or one in fifty: so few may stay without an answer before the job does not end well

Pairs = Mapping[Stage, Sequence[tuple[str, str]]]


def teach(attempt: Context, spec: SynthesisSpec, questions: Sequence[Question], pairs: Pairs) -> Taught:
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
    taught = Taught(attempt, spec.teacher, questions, pairs)
    if not questions:
        return taught
    teacher = teacher_of(spec.teacher)
    try:
        taught.ask(teacher)
    finally:
        teacher.close()
    return taught


class Taught:
    """The answers to some questions. `told` says what they cost."""

    def __init__(self, attempt: Context, teacher: TeacherSource, questions: Sequence[Question], pairs: Pairs) -> None:
        self._attempt = attempt
        self._teacher = teacher
        self._questions = questions
        stages = dict.fromkeys(question.stage for question in questions)
        self._lessons = {stage: Lesson(teacher, stage, pairs.get(stage, ())) for stage in stages}
        self._host = ""
        self._unanswered: dict[str, str] = {}
        self._estimated = 0
        self._errors = Counter[str]()
        self._before = Spent()
        self._now = Spent()
        self._began = 0.0
        self._of = self._cached = self._to_ask = 0
        self._stopped_by: str | None = None
        self._failure: str | None = None
        self._logged_half = False
        self.told: dict[str, Any] = {}

    @property
    def spent(self) -> Spent:
        """What this job has asked, in all its attempts."""
        return self._before + self._now

    def ask(self, teacher: Teacher) -> None:
        """Ask what is not known, within the budgets."""
        job = self._attempt.job
        self._host = teacher.host
        with transaction() as connection:
            self._before = teach_cache.spent(connection, job)
        self._count()
        asking = Asking(self, teacher, self._teacher.give_up_after)
        self._began = clock.now()
        try:
            asking.round(self._unknown())
            # What failed while others went through gets another chance: the server may have been restarted in between.
            asking.round(asking.failed_before())
        except Refusal:
            raise
        except EngineError as failure:
            left = self._to_ask - self._now.asked
            if not self.has_answers or left > max(_LET_GO, self._of // 50) or not teacher.is_there():
                raise
            # The server lives, and has answered all others: it is these few tweets that it fails at.
            self._failure = str(failure)
        self._unanswered = {asked.fingerprint: error for asked, error in asking.failed}
        self._tell(teacher)

    def rows(self) -> Iterator[tuple[ExampleRow, tuple[str, ...]]]:
        """A row for each tweet that was answered, in the order of the questions, with the reasons not to learn from it.

        A tweet without a usable answer is such a row too, with an empty target. One that no budget was left for is not.
        """
        counts, refused = Counter[str](), Counter[str]()
        for batch in self._batches():
            with transaction() as connection:
                stored = teach_cache.known(connection, [asked.fingerprint for asked, _ in batch])
            for asked, question in batch:
                row, reasons = self._row(asked, question, stored.get(asked.fingerprint))
                if row is not None:
                    counts["rejected" if reasons else "accepted"] += 1
                    refused.update(reason for reason in reasons if reason != "teacher_wordless")
                    self._errors.update([str(row.lineage["error"])] if "error" in row.lineage else ())
                    yield row, reasons
        self.told |= {"accepted": counts["accepted"], "rejected": counts["rejected"], "refused": dict(refused.most_common())}

    def keep(self, answered: Sequence[tuple[Asked, Answer]]) -> None:
        """Commit answers; while Postgres is away, wait for as long as the lease may hold: they are paid for."""
        while True:
            try:
                with self._attempt.flush() as connection:
                    teach_cache.store(connection, self._attempt.job, self._teacher.model, answered)
                return
            except Unavailable:
                if self._attempt.pending_signal is not None:
                    raise
                time.sleep(0.5)

    def spend(self, answered: Sequence[tuple[Asked, Answer]]) -> None:
        """Add what answers cost to what is spent, whatever becomes of them."""
        tokens_in = sum(answer.tokens_in for _, answer in answered)
        tokens_out = sum(answer.tokens_out for _, answer in answered)
        self._now += Spent(0, tokens_in, tokens_out)
        self._estimated += sum(answer.estimated for _, answer in answered)

    def count_in(self, answered: Sequence[tuple[Asked, Answer]]) -> None:
        """Count answers that are kept, and show it."""
        self._now += Spent(len(answered))
        self._show()

    def bill(self) -> str:
        """What was spent, in words."""
        spent = self.spent
        return f"{spent.tokens_in + spent.tokens_out:,} tokens, {usd(self._teacher, spent):.4g} USD by the recipe's prices"

    def advice(self) -> str:
        """What was said most often of tweets without an answer, as a sentence; empty where all had one."""
        return "".join(f"{error}. " for error, _ in self._errors.most_common(1))

    def check(self) -> None:
        """Stop where the job is told to."""
        self._attempt.check()

    def budget_left(self) -> bool:
        """Whether another question may be asked."""
        self._stopped_by = exhausted(self._teacher, self._timed())
        return self._stopped_by is None

    @property
    def has_answers(self) -> bool:
        """Whether this teacher has answered anything yet."""
        return self._cached + self._before.asked + self._now.asked > 0

    def _timed(self) -> Spent:
        return self.spent + Spent(seconds=clock.now() - self._began)

    def _count(self) -> None:
        """How many different prompts there are, how many of them are answered, and how many of those by other jobs."""
        seen: set[str] = set()
        answered = 0
        for batch in self._batches():
            new = {asked.fingerprint for asked, _ in batch if is_wordy(asked.text)} - seen
            seen |= new
            with transaction() as connection:
                answered += len(self._standing(connection, list(new)))
        self._of = len(seen)
        self._to_ask = self._of - answered
        self._cached = max(0, answered - self._before.asked)

    def _unknown(self) -> Iterator[Asked]:
        """What is to be asked, while there is a budget for it."""
        seen: set[str] = set()
        for batch in self._batches():
            new = {asked.fingerprint: asked for asked, _ in batch if is_wordy(asked.text) and asked.fingerprint not in seen}
            seen |= new.keys()
            with transaction() as connection:
                stored = self._standing(connection, list(new))
            for fingerprint, asked in new.items():
                if fingerprint in stored:
                    continue
                if not self.budget_left():
                    return
                yield asked

    def _standing(self, connection: Connection, fingerprints: Sequence[str]) -> dict[str, teach_cache.Stored]:
        """What is stored of these and not to be asked again: this job asks for nothing twice."""
        known = teach_cache.known(connection, fingerprints)
        if self._teacher.ask_again is None:
            return known
        return {name: stored for name, stored in known.items() if stored.answers or stored.job == self._attempt.job}

    def _batches(self) -> Iterator[list[tuple[Asked, Question]]]:
        for start in range(0, len(self._questions), _TOGETHER):
            self._attempt.check()
            questions = self._questions[start : start + _TOGETHER]
            with transaction() as connection:
                texts = teach_cache.texts(connection, [question.tweet_id for question in questions])
            yield [(self._asked(question, texts[question.tweet_id]), question) for question in questions if question.tweet_id in texts]

    def _asked(self, question: Question, text: str) -> Asked:
        lesson = self._lessons[question.stage]
        return Asked(lesson.fingerprint(text), question.tweet_id, text, lesson)

    def _show(self) -> None:
        spent = self._timed()
        ahead = projected(self._teacher, spent, self._before.asked + self._to_ask)
        shown: dict[str, Any] = {"phase": "teacher", "asked": spent.asked, "cached": self._cached, "of": self._of}
        shown |= {"tokens": spent.tokens_in + spent.tokens_out, "usd": round(usd(self._teacher, spent), 6)}
        if ahead is not None:
            shown |= {"usd_projected": round(ahead.usd, 6), "seconds_left": round(max(0.0, ahead.seconds - spent.seconds), 1)}
            half = (self._before.asked + self._to_ask) / 2
            if spent.asked >= half > self._before.asked and not self._logged_half:
                self._logged_half = True
                self._attempt.log(
                    f"teacher: {spent.asked} of {2 * half:.0f} asked, {shown['usd']:g} USD and {spent.seconds:.0f} s so far, "
                    f"{ahead.usd:.6g} USD and {ahead.seconds:.0f} s projected"
                )
        self._attempt.progress(**shown)

    def _tell(self, teacher: Teacher) -> None:
        with transaction() as connection:
            spent = teach_cache.spent(connection, self._attempt.job)
            at_half = teach_cache.spent(connection, self._attempt.job, first=spent.asked // 2)
        ahead = projected(self._teacher, at_half, self._before.asked + self._to_ask)
        left = self._to_ask - self._now.asked
        unanswered = len(self._unanswered) if self._failure is None else left
        self.told = {
            "model": self._teacher.model,
            "engine": self._teacher.engine,
            "host": self._host,
            "structured": getattr(teacher, "structured", False),
            "asked_without": getattr(teacher, "asked_without", []),
            "tokens_estimated": self._estimated,
            "prompt_sha256": {stage.value: lesson.prompt_sha256 for stage, lesson in self._lessons.items()},
            "tweets": self._of,
            "cached": self._cached,
            "asked": spent.asked,
            "unanswered": unanswered,
            "not_asked": {self._stopped_by: left - unanswered} if self._stopped_by and left > unanswered else {},
            "tokens_in": spent.tokens_in,
            "tokens_out": spent.tokens_out,
            "usd": round(usd(self._teacher, spent), 6),
            "seconds": round(spent.seconds, 1),
            "projected_at_half": None if ahead is None else {"usd": round(ahead.usd, 6), "seconds": round(ahead.seconds, 1)},
        }
        shown = {"asked": spent.asked, "cached": self._cached, "of": self._of, "tokens": spent.tokens_in + spent.tokens_out}
        self._attempt.progress(phase="taught", usd=self.told["usd"], seconds_left=0, **shown)

    def _row(self, asked: Asked, question: Question, stored: teach_cache.Stored | None) -> tuple[ExampleRow | None, tuple[str, ...]]:
        lineage: dict[str, object] = {
            "tweet_id": asked.tweet_id,
            "teacher": {"model": self._teacher.model, "engine": self._teacher.engine, "host": self._host},
            "prompt_sha256": asked.lesson.prompt_sha256,
            "answers": asked.fingerprint,
        }
        if stored is not None and stored.answers:
            choice = choose(asked.text, stored.answers, question.stage)
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
