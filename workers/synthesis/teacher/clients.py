"""Clients of teachers: a server of the OpenAI chat API, or a base model in this process. Answers are yielded as they complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from schemas.payloads import Stage
from schemas.synthesis import TeacherSource
from workers import clock
from workers.inference.engine import Generation, Sampling
from workers.inference.engines import engine_for
from workers.inference.guard import MAX_NEW_TOKENS
from workers.inference.remote.client import Backoff, ChatServer, Meter, Passing, PromptError, Request
from workers.inference.remote.completions import Completion, Problem, problem_sentence
from workers.inference.remote.concurrency import ConcurrencyLimiter
from workers.inference.remote.dialect import Feature
from workers.inference.remote.worker_threads import as_they_come
from workers.synthesis.teacher.parsing import REPEATED, holds_json, text_of
from workers.synthesis.teacher.prompt import SCHEMA, StagePrompt
from workers.text.constraints import MAX_WORDS
from workers.text.thoughts import split_thoughts

PATIENCE = Backoff(tries=8, first=1.0, longest=600.0, hangs=3)
"""About two minutes for a server that restarts, ten for one that asks to be left alone."""

GRACE = 5.0
"""Seconds that requests under way are waited for when the job must stop: their answers are paid for."""

RAISE = "raise teacher.answer_tokens"

REFUSED = "server_refused"
"""The reason of an answer that is a refusal of the server's, not known to be due to the prompt."""

_MALFORMED_TRIES = 3
_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


@dataclass(frozen=True)
class Asked:
    """One tweet to be answered, and by what name its answers are known."""

    fingerprint: str
    tweet_id: str
    text: str
    prompt: StagePrompt


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        texts: the candidates, the greedy one first; equal ones stay.
        error: why there are none; the words are ours and hold nothing of the tweet.
        lasting: whether asking again would not help.
        tokens_in: of all requests that it took.
        tokens_out: of all candidates.
        seconds: from the first request to the last answer.
        reason: the same as `error` in a word, to count by.
        estimated: how many requests came without a usable figure of the server.
    """

    texts: tuple[str, ...]
    error: str | None = None
    lasting: bool = True
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    reason: str | None = None
    estimated: int = 0


class Teacher(Protocol):
    """Whoever answers."""

    host: str

    def answers(self, questions: Iterable[Asked], tick: Callable[[], None]) -> Iterator[list[tuple[Asked, Answer]]]:
        """Answer the questions, which are drawn one by one; `tick` is called in between, and what it raises ends the asking."""
        ...

    def is_there(self) -> bool:
        """Whether it lives, though it did not answer."""
        ...

    def close(self) -> None:
        """Ask nothing more."""
        ...


class ServerTeacher:
    """A teacher behind the OpenAI chat API.

    What the server can't do, such as structured output or several candidates at once, is found out on the way and done without.

    Args:
        source: the recipe's.
        base_url: with its version.
        api_key: empty for servers that ask for none.
        backoff: between tries.
    """

    def __init__(self, source: TeacherSource, base_url: str, api_key: str, backoff: Backoff = PATIENCE) -> None:
        self._source = source
        self._server = ChatServer(base_url, api_key, source.timeout, backoff)
        self._dialect = self._server.dialect(source.model)
        self._structured_before = False
        self.host = self._server.host

    @property
    def structured(self) -> bool:
        """Whether it is asked for JSON of a schema."""
        return self._source.structured and Feature.SCHEMA not in self._dialect.lacks

    @property
    def asked_without(self) -> list[str]:
        """What of the chat API it turned out not to take."""
        return self._dialect.left_out

    @property
    def authorization(self) -> str | None:
        """What it is told of the key."""
        return self._server.authorization

    def answers(self, questions: Iterable[Asked], tick: Callable[[], None]) -> Iterator[list[tuple[Asked, Answer]]]:
        """See `Teacher.answers`.

        Raises:
            EngineError: the server can't be reached, stays overloaded, refuses the key or the model, or the account is used up.
        """
        limiter = ConcurrencyLimiter(self._source.concurrency)
        under_way: dict[int, Asked] = {}

        def drawn() -> Iterator[Asked]:
            for place, question in enumerate(questions):
                under_way[place] = question
                yield question

        def answered(question: Asked) -> Answer:
            return self._answer(question, limiter)

        for done in as_they_come(answered, drawn(), limiter, self._source.concurrency, tick, GRACE):
            yield [(under_way.pop(place), answer) for place, answer in done]

    def is_there(self) -> bool:
        """Whether the server answers a question that costs nothing."""
        return self._server.is_there()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _answer(self, question: Asked, limiter: ConcurrencyLimiter) -> Answer:
        began, meter = clock.now(), Meter()
        error, reason, lasting = None, None, True
        texts: list[str] = []
        try:
            texts, problem = self._candidates(question, meter, limiter)
            if not texts and problem is not None:
                error, reason = problem_sentence(problem, self._source.answer_tokens, RAISE), problem.value
        except PromptError as refusal:
            error, reason = str(refusal), "prompt_refused" if refusal.about_prompt else REFUSED
        except Passing as failure:
            error, reason, lasting = str(failure), "no_answer", False
        took = clock.now() - began
        return Answer(tuple(texts), error, lasting, meter.tokens_in, meter.tokens_out, took, reason, meter.estimated)

    def _candidates(self, question: Asked, meter: Meter, limiter: ConcurrencyLimiter) -> tuple[list[str], Problem | None]:
        """Return the greedy answer, and sampled ones: by one request, or one by one where the server gives no more at a time."""
        texts, problem = self._well_formed(question, 1, 0.0, 0, meter, limiter)
        if not texts:
            return texts, problem
        asked, wanted = 0, self._source.candidates - 1
        while asked < wanted:
            number = 1 if Feature.SEVERAL in self._dialect.lacks else wanted - asked
            more, _ = self._well_formed(question, number, self._source.temperature, asked + 1, meter, limiter)
            texts += more
            asked += number if Feature.SEVERAL not in self._dialect.lacks else max(1, len(more))
        return texts, None

    def _well_formed(
        self, question: Asked, number: int, temperature: float, seed: int, meter: Meter, limiter: ConcurrencyLimiter
    ) -> tuple[list[str], Problem | None]:
        """Return the well-formed ones of `number` candidates; when there is none, others are asked for a few times, if that may help."""
        problem: Problem | None = None
        for again in range(_MALFORMED_TRIES):
            # The same greedy request would be answered the same.
            warmth = temperature if again == 0 else max(temperature, 0.5)
            asked = self._request(question, number, warmth, 1000 * again + seed)
            completion = self._server.complete(asked, limiter, meter)
            if number > 1 and len(completion.choices) < number:
                self._dialect.drop(Feature.SEVERAL)
            if completion.structured and not self._structured_before and _ignores_schemas(completion):
                self._dialect.drop(Feature.SCHEMA)  # it ignores what it does not know
                completion = self._server.complete(asked, limiter, meter)
            read = [text_of(choice, structured=completion.structured) for choice in completion.choices]
            texts = [text for text in read if not isinstance(text, Problem)]
            self._structured_before = self._structured_before or (completion.structured and bool(texts))
            if texts:
                return texts, None
            problem = next((each for each in read if isinstance(each, Problem)), Problem.EMPTY)
            if problem not in REPEATED:
                break
        return [], problem

    def _request(self, question: Asked, number: int, temperature: float, seed: int) -> Request:
        chat = question.prompt.chat
        structured = self._source.structured
        return Request(
            model=self._source.model,
            prompt=chat(question.text, structured=False),
            max_tokens=self._source.answer_tokens,
            temperature=temperature,
            number=number,
            seed=(self._source.seed + seed) % 2**31 if temperature else None,
            schema=_FORMAT if structured else None,
            structured=chat(question.text, structured=True) if structured else None,
        )


def _ignores_schemas(completion: Completion) -> bool:
    """Whether there is plain text where JSON was asked for. A limit that cut the answer, or a refusal, tells nothing of that."""
    usable = [choice for choice in completion.choices if choice.problem is None]
    return bool(usable) and not any(choice.cut or holds_json(choice) for choice in usable)


class LocalTeacher:
    """A base model of this worker's; the candidates are its beams.

    Args:
        source: the recipe's.
    """

    host = "local"

    def __init__(self, source: TeacherSource) -> None:
        self._source = source

    def answers(self, questions: Iterable[Asked], tick: Callable[[], None]) -> Iterator[list[tuple[Asked, Answer]]]:
        """See `Teacher.answers`. As many are answered together as take about a second.

        Raises:
            EngineError: the model can't be loaded.
        """
        engine = engine_for(self._source.model, all_cores=True, local=True)
        beams = self._source.candidates
        drawn, together = iter(questions), 2
        while window := list(islice(drawn, together)):
            tick()
            began = clock.now()
            prompts = [question.prompt.chat(question.text, structured=False) for question in window]
            # One bound for all of a window: that of the summary, where there is one.
            words = MAX_WORDS if all(question.prompt.stage is Stage.SUMMARY for question in window) else None
            # A model that does not know when to end is not waited for: there is no JSON around the text.
            longest = min(self._source.answer_tokens, max(MAX_NEW_TOKENS[question.prompt.stage] for question in window))
            sampling = Sampling(longest, num_beams=beams, num_return_sequences=beams, max_words=words if beams > 1 else None)
            generations = engine.generate(prompts, sampling)
            took = clock.now() - began
            yield [(question, _spoken(generation, longest, took)) for question, generation in zip(window, generations, strict=True)]
            together = min(256, together * 2) if took < 0.5 else max(1, together // 2) if took > 2 else together

    def is_there(self) -> bool:
        """Return False: a model of this process that failed is not there."""
        return False

    def close(self) -> None:
        """Nothing to close: the engine stays warm."""


def _spoken(generation: Generation, longest: int, took: float) -> Answer:
    """Return the answer of a model of ours, without its thoughts."""
    spoken = [split_thoughts(text) for text in generation.texts]
    texts = tuple(each.text for each in spoken if each.text)
    error = reason = None
    if not texts:
        problem = Problem.THOUGHT if any(each.unfinished for each in spoken) else Problem.EMPTY
        error, reason = problem_sentence(problem, longest, RAISE), problem.value
    return Answer(texts, error, True, generation.tokens_in, generation.tokens_out, took, reason)
