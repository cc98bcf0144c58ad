"""Answers by an engine that asks a server with the OpenAI chat API: vLLM, SGLang, llama.cpp, Ollama, or a hosted one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from schemas.chat import Prompt
from workers.inference.engine import Engine, Generation, Sampling, each_prompt
from workers.inference.remote.adapters import Adapters
from workers.inference.remote.client import Backoff, ChatServer, Meter, PromptError, Refusal, Request
from workers.inference.remote.completions import Completion, Problem, problem_sentence
from workers.inference.remote.concurrency import ConcurrencyLimiter
from workers.inference.remote.dialect import Feature
from workers.inference.remote.errors import NoSuchModel
from workers.inference.remote.worker_threads import as_they_come
from workers.text.prompts import served

__all__ = ["Backoff", "OpenAIEngine"]

ALTERNATIVES_TEMPERATURE = 0.7
"""The servers have no beams in common: after the greedy answer, alternatives are sampled at this temperature."""

_SERVE_WITHOUT = "serve it without thinking (for Qwen3: enable_thinking false), or name a model that answers at once"
_LEAST = 8  # tokens of an answer, below which nobody could answer
_MOST_THOUGHTS = 4  # prompts, the first that a model gets, of which none was answered because it thought to the limit
_MOST_FAILURES = 20  # the same for other reasons that do not lie in the prompts

T = TypeVar("T")
R = TypeVar("R")


class OpenAIEngine:
    """Chat completions with bounded concurrency, which follows what the server says of its load.

    A prompt whose answer stays malformed, or that the server refuses by itself, comes back without texts and with an `error`.

    Args:
        base_url: with its version, such as `http://localhost:8000/v1`.
        api_key: empty for servers that ask for none.
        model: the name of the base model at the server.
        concurrency: requests that are open at once, at most.
        adapters: folder of an adapter to its name at the server; otherwise the folder's own name is asked for.
        adapters_folder: where the server finds the folders of adapters; None where it sees them at the same paths.
        timeout: seconds for one request.
        backoff: between tries.
        socket: a Unix socket on which the server listens, in place of the URL's host and port.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        model: str,
        concurrency: int = 8,
        adapters: Mapping[Path, str] | None = None,
        adapters_folder: Path | None = None,
        timeout: float = 60.0,
        backoff: Backoff | None = None,
        socket: Path | None = None,
    ) -> None:
        self._model = model
        self._names = dict(adapters or {})
        self._concurrency = concurrency
        self._allowed = concurrency  # requests at once that the server bore last: the next shard begins with as many
        self._answers: set[str] = set()  # models that have answered
        self._failures: dict[str, tuple[int, Refusal]] = {}  # prompts without an answer, and why the last has none
        self._noting = threading.Lock()
        self._server = ChatServer(base_url, api_key, timeout, backoff or Backoff(), socket)
        self._adapters = Adapters(self._server, adapters_folder)

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Generate as `Engine.generate` says. Alternatives are the greedy answer first, then sampled ones.

        Raises:
            EngineError: the server cannot be reached, refuses the key or the model, or stays overloaded.
        """
        return each_prompt(self, prompts, sampling, adapter, on_progress)

    def concurrently(
        self,
        work: Callable[[Engine, T], R],
        items: Iterable[T],
        on_progress: Callable[[int], None] | None = None,
        adapters: Sequence[Path] = (),
    ) -> Iterator[list[tuple[int, R]]]:
        """See `ConcurrentEngine.concurrently`: all items share one limit of open requests, which goes on from that of the work before."""
        del adapters  # each is loaded when it is first asked for
        asked = _Asked(self, ConcurrencyLimiter(self._concurrency, self._allowed))
        # Whoever hears of the progress may stop it by what it raises, also while an answer is slow.
        tick = (lambda: on_progress(0)) if on_progress else (lambda: None)
        try:
            yield from as_they_come(lambda item: work(asked, item), items, asked.limiter, self._concurrency, tick)
        finally:
            self._allowed = asked.limiter.limit
        for model in asked.models:
            if model in self._failures and model not in self._answers:
                raise self._failures[model][1]

    def name_of(self, adapter: Path | None) -> str:
        """Return the name under which the server knows the base model, or an adapter on it."""
        return self._model if adapter is None else self._names.get(adapter, adapter.name)

    def answer(self, prompt: Prompt, sampling: Sampling, adapter: Path | None, limiter: ConcurrencyLimiter) -> Generation:
        """Answer one prompt in this thread, with an adapter that the server loads if it has not yet.

        Raises:
            EngineError: as in `generate`.
            Closed: the limiter was closed.
        """
        model = self.name_of(adapter)
        if adapter is None:
            return self._answer(prompt, sampling, model, limiter)
        self._adapters.ensure(model, adapter)
        try:
            return self._answer(prompt, sampling, model, limiter)
        except NoSuchModel:
            self._adapters.forget(model)  # the server may have been started anew
        self._adapters.ensure(model, adapter)
        try:
            return self._answer(prompt, sampling, model, limiter)
        except NoSuchModel as error:
            self._adapters.forget(model)
            raise self._adapters.missing(adapter, error) from error

    def _answer(self, prompt: Prompt, sampling: Sampling, model: str, limiter: ConcurrencyLimiter) -> Generation:
        meter = Meter()
        greedy = Request(model, served(prompt), sampling.max_new_tokens)
        try:
            completions = [self._server.complete(greedy, limiter, meter)]
            more = sampling.num_return_sequences - 1 if sampling.samples is None else sampling.samples
            if more:
                sampled = replace(greedy, temperature=ALTERNATIVES_TEMPERATURE, logprobs=True)
                completions += _likeliest_first(self._more(sampled, more, limiter, meter))
        except PromptError as error:
            if not error.about_prompt:
                self._fail(model, Refusal(f"the model {model!r} has answered nothing: {error}"), _MOST_FAILURES)
            return Generation((), tokens_in=meter.tokens_in, tokens_out=meter.tokens_out, error=str(error))
        texts = [text for completion in completions for text in completion.texts]
        problem = next((choice.problem for completion in completions for choice in completion.choices if choice.problem), None)
        if texts:
            self._answers.add(model)
        elif problem is Problem.THOUGHT and sampling.max_new_tokens >= _LEAST:
            self._fail(model, _only_thinks(model, sampling.max_new_tokens), _MOST_THOUGHTS)
        elif problem is Problem.EMPTY:
            self._fail(
                model, Refusal(f"the model {model!r} answers each prompt with nothing: look at its template at the server"), _MOST_FAILURES
            )
        return Generation(
            texts=tuple(dict.fromkeys(texts)),
            tokens_in=meter.tokens_in,
            tokens_out=meter.tokens_out,
            error=None if texts else problem_sentence(problem or Problem.EMPTY, sampling.max_new_tokens, _SERVE_WITHOUT),
        )

    def _more(self, request: Request, number: int, limiter: ConcurrencyLimiter, meter: Meter) -> list[Completion]:
        """Return further completions: by one request, or one by one where the server gives no more at a time."""
        dialect = self._server.dialect(request.model)
        found: list[Completion] = []
        got = 0
        while got < number:
            several = 1 if Feature.SEVERAL in dialect.lacks else number - got
            completion = self._server.complete(replace(request, number=several), limiter, meter)
            if len(completion.choices) < several:
                dialect.drop(Feature.SEVERAL)
            found.append(completion)
            got += len(completion.choices)
        return found

    def _fail(self, model: str, why: Refusal, most: int) -> None:
        """Give up on a model that has answered nothing so far: every tweet would get a stand-in.

        Raises:
            Refusal: it has left `most` prompts without an answer.
        """
        with self._noting:
            if model in self._answers:
                return
            number = self._failures.get(model, (0, why))[0] + 1
            self._failures[model] = (number, why)
            if number >= most:
                raise why


@dataclass
class _Asked:
    """The engine as the threads of one piece of work ask it: they answer their own prompts, below one limit of open requests."""

    engine: OpenAIEngine
    limiter: ConcurrencyLimiter
    models: set[str] = field(default_factory=set)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See `Engine.generate`."""
        self.models.add(self.engine.name_of(adapter))
        results = []
        for prompt in prompts:
            results.append(self.engine.answer(prompt, sampling, adapter, self.limiter))
            if on_progress:
                on_progress(1)
        return results


def _likeliest_first(sampled: list[Completion]) -> list[Completion]:
    """Put the choices in order, the likeliest first, as beams would come; leave them as they are where one's likelihood is unknown."""
    choices = [choice for completion in sampled for choice in completion.choices]
    if any(choice.likelihood is None for choice in choices):
        return sampled
    return [Completion(tuple(sorted(choices, key=lambda choice: -(choice.likelihood or 0.0))))]


def _only_thinks(model: str, limit: int) -> Refusal:
    return Refusal(f"the model {model!r} thinks for all of the {limit} tokens that an answer may have, and never answers: {_SERVE_WITHOUT}")
