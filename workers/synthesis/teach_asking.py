"""Asking a teacher: a server of the OpenAI chat API, or a base model in this process. Answers come one by one, as they get ready."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from schemas.payloads import Stage, TeacherSource
from workers import clock
from workers.inference.chat_server import Backoff, ChatServer, Completion, Passing, PromptError
from workers.inference.engine import Sampling
from workers.inference.flow import as_they_come
from workers.inference.gate import Gate
from workers.inference.guard import MAX_NEW_TOKENS
from workers.inference.promise import MAX_WORDS
from workers.inference.warm import get_engine
from workers.synthesis.teach_prompt import SCHEMA, Lesson
from workers.synthesis.teach_reading import bare, text_of

PATIENCE = Backoff(tries=8, first=1.0, longest=600.0, hangs=3)
"""About two minutes for a server that restarts, ten for one that asks to be left alone."""

GRACE = 5.0
"""Seconds that requests under way are waited for when the job must stop: their answers are paid for."""

_MALFORMED_TRIES = 3
_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
_REFUSED = frozenset({400, 422})  # how servers say that they do not know a field


@dataclass(frozen=True)
class Asked:
    """One tweet to be answered, and by what name its answers are known."""

    fingerprint: str
    tweet_id: str
    text: str
    lesson: Lesson


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
    """

    texts: tuple[str, ...]
    error: str | None = None
    lasting: bool = True
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


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


@dataclass
class _Tally:
    """What one tweet has cost so far."""

    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, completion: Completion, body: Mapping[str, object]) -> None:
        """A server that does not count is counted for: four characters a token."""
        if completion.usage is not None:
            self.tokens_in += completion.usage.prompt_tokens
            self.tokens_out += completion.usage.completion_tokens
        else:
            self.tokens_in += len(json.dumps(body["messages"], ensure_ascii=False)) // 4
            self.tokens_out += sum(len(text) for text in completion.texts) // 4 + 1


class ServerTeacher:
    """A teacher behind the OpenAI chat API.

    What the server can't do, structured output or several candidates at once, is found out on the way and done without from then on.

    Args:
        source: the recipe's.
        base_url: with its version.
        api_key: empty for servers that ask for none.
        backoff: between tries.
    """

    def __init__(self, source: TeacherSource, base_url: str, api_key: str, backoff: Backoff = PATIENCE) -> None:
        self._source = source
        self._server = ChatServer(base_url, api_key, source.concurrency, source.timeout, backoff)
        self.host = self._server.host
        self.structured = source.structured
        self._structured_before = False
        self._several = True

    def answers(self, questions: Iterable[Asked], tick: Callable[[], None]) -> Iterator[list[tuple[Asked, Answer]]]:
        """See `Teacher.answers`.

        Raises:
            EngineError: the server can't be reached, stays overloaded, or refuses the key or the model.
        """
        gate = Gate(self._source.concurrency)
        under_way: dict[int, Asked] = {}

        def drawn() -> Iterator[Asked]:
            for place, question in enumerate(questions):
                under_way[place] = question
                yield question

        def answered(question: Asked) -> Answer:
            return self._answer(question, gate)

        for done in as_they_come(answered, drawn(), gate, self._source.concurrency, tick, GRACE):
            yield [(under_way.pop(place), answer) for place, answer in done]

    def is_there(self) -> bool:
        """Whether the server answers a question that costs nothing."""
        return self._server.is_there()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _answer(self, question: Asked, gate: Gate) -> Answer:
        began, tally = clock.now(), _Tally()
        error, lasting = None, True
        texts: list[str] = []
        try:
            texts = self._candidates(question, tally, gate)
            if not texts:
                error = "the teacher's answers are malformed, however often it was asked"
        except PromptError as refusal:
            error = str(refusal)
        except Passing as failure:
            error, lasting = str(failure), False
        return Answer(tuple(texts), error, lasting, tally.tokens_in, tally.tokens_out, clock.now() - began)

    def _candidates(self, question: Asked, tally: _Tally, gate: Gate) -> list[str]:
        """The greedy answer, and sampled ones: by one request, or one by one where the server gives no more at a time."""
        texts = self._well_formed(question, 1, 0.0, 0, tally, gate)
        missing = self._source.candidates - 1
        if missing > 1 and self._several:
            together = self._together(question, missing, tally, gate)
            texts += together
            missing = 0 if self._several else missing - len(together)
        for number in range(missing):
            texts += self._well_formed(question, 1, self._source.temperature, number + 1, tally, gate)
        return texts

    def _together(self, question: Asked, number: int, tally: _Tally, gate: Gate) -> list[str]:
        try:
            return self._well_formed(question, number, self._source.temperature, 1, tally, gate)
        except PromptError as refusal:
            # It took the same prompt a moment ago, so that it is the number which it refuses.
            if refusal.status not in _REFUSED:
                raise
            self._several = False
            return []

    def _well_formed(self, question: Asked, number: int, temperature: float, seed: int, tally: _Tally, gate: Gate) -> list[str]:
        """The well-formed ones of `number` candidates; when there is none, others are asked for a few times."""
        for again in range(_MALFORMED_TRIES):
            # The same greedy request would be answered the same.
            warmth = temperature if again == 0 else max(temperature, 0.5)
            structured, completion = self._completed(question, number, warmth, 1000 * again + seed, tally, gate)
            if number > 1 and len(completion.choices) < number:
                self._several = False
            contents = [bare(text) for text in completion.texts]
            if structured and not self._structured_before and not any(content.startswith("{") for content in contents):
                self.structured = False  # it ignores what it does not know
                structured, completion = self._completed(question, number, warmth, 1000 * again + seed, tally, gate)
                contents = [bare(text) for text in completion.texts]
            texts = [text for content in contents if (text := text_of(content, structured))]
            self._structured_before = self._structured_before or (structured and bool(texts))
            if texts:
                return texts
        return []

    def _completed(self, question: Asked, number: int, temperature: float, seed: int, tally: _Tally, gate: Gate) -> tuple[bool, Completion]:
        """One request, as structured as the server takes it, and whether it was."""
        structured = self.structured
        try:
            return structured, self._sent(question, structured, number, temperature, seed, tally, gate)
        except PromptError as refusal:
            if not structured or self._structured_before or refusal.status not in _REFUSED:
                raise
        plain = self._sent(question, False, number, temperature, seed, tally, gate)
        self.structured = False  # it takes the prompt without the schema
        return False, plain

    def _sent(self, question: Asked, structured: bool, number: int, temperature: float, seed: int, tally: _Tally, gate: Gate) -> Completion:
        prompt = question.lesson.prompt(question.text, structured=structured)
        body: dict[str, object] = {
            "model": self._source.model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt],
            "max_tokens": self._source.answer_tokens,
            "temperature": temperature,
        }
        body |= {"response_format": _FORMAT} if structured else {}
        body |= {"n": number} if number > 1 else {}
        body |= {"seed": (self._source.seed + seed) % 2**31} if temperature else {}
        completion = self._server.complete(body, gate)
        tally.add(completion, body)
        return completion


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
        engine = get_engine(self._source.model, all_cores=True, local=True)
        beams = self._source.candidates
        drawn, together = iter(questions), 2
        while window := list(islice(drawn, together)):
            tick()
            began = clock.now()
            prompts = [question.lesson.prompt(question.text, structured=False) for question in window]
            # One bound for all of a window: that of the summary, where there is one.
            words = MAX_WORDS if all(question.lesson.stage is Stage.SUMMARY for question in window) else None
            # A model that does not know when to end is not waited for: there is no JSON around the text.
            longest = min(self._source.answer_tokens, max(MAX_NEW_TOKENS[question.lesson.stage] for question in window))
            sampling = Sampling(longest, num_beams=beams, num_return_sequences=beams, max_words=words if beams > 1 else None)
            generations = engine.generate(prompts, sampling)
            took = clock.now() - began
            yield [
                (question, Answer(generation.texts, _silent(generation.texts), True, generation.tokens_in, generation.tokens_out, took))
                for question, generation in zip(window, generations, strict=True)
            ]
            together = min(256, together * 2) if took < 0.5 else max(1, together // 2) if took > 2 else together

    def is_there(self) -> bool:
        """A model that failed here is not."""
        return False

    def close(self) -> None:
        """Nothing to close: the engine stays warm."""


def _silent(texts: tuple[str, ...]) -> str | None:
    return None if any(texts) else "the teacher said nothing"
