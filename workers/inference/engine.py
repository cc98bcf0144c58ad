"""Defines the interface of engines, which write text: for the teacher, the summariser and the evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from schemas.chat import Prompt
from workers.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Sampling:
    """How to decode: greedy with one beam, otherwise the `num_return_sequences` best of `num_beams` beams.

    `max_words` bounds the words of every beam: past them only the end of a word or of the text may follow, so that beams which
    plan a short sentence win over those that are cut. An engine that cannot look into its decoding leaves it out. One without beams
    draws `samples` beside the greedy answer; None: as many as make up `num_return_sequences`.
    """

    max_new_tokens: int = 40
    num_beams: int = 1
    num_return_sequences: int = 1
    max_words: int | None = None
    samples: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}: give at least 1")
        if self.max_words is not None and self.max_words < 1:
            raise ValueError(f"max_words is {self.max_words}: give at least 1")
        if not 1 <= self.num_return_sequences <= self.num_beams:
            raise ValueError(f"num_return_sequences is {self.num_return_sequences}: give 1 to num_beams ({self.num_beams})")
        if self.samples is not None and self.samples < 0:
            raise ValueError(f"samples is {self.samples}: give at least 0")


@dataclass(frozen=True)
class Generation:
    """What came back for one prompt.

    `texts` are best first, `tokens_out` counts the tokens of all of them. A prompt that the engine could not answer while others
    went through has no texts and says in `error` what to do.
    """

    texts: tuple[str, ...]
    tokens_in: int
    tokens_out: int
    error: str | None = None


class Engine(Protocol):
    """Writes an answer to every prompt, in the order of the prompts."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Answer `prompts` with the base model or with `adapter` on it; `on_progress` gets the number of prompts newly done.

        A server's engine calls it with 0 while it waits, so that what it raises ends a slow answer too.

        Raises:
            EngineError: nothing can be generated, and the message says what to do.
        """
        ...


@runtime_checkable
class ConcurrentEngine(Engine, Protocol):
    """An engine that answers many prompts at once better than in batches: a server's."""

    def concurrently(
        self,
        work: Callable[[Engine, T], R],
        items: Iterable[T],
        on_progress: Callable[[int], None] | None = None,
        adapters: Sequence[Path] = (),
    ) -> Iterator[list[tuple[int, R]]]:
        """Yield what `work` returns for each item, with its place, as it comes; as many are under way as the engine answers at once.

        `work` gets an engine to ask, and runs in threads. `on_progress` is called with 0 a few times a second, in the caller's thread,
        and what it raises ends the work. `adapters` are those that `work` asks for: a server that must be started with them is.

        Raises:
            EngineError: nothing can be generated.
        """
        ...


def each_prompt(
    engine: ConcurrentEngine,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    adapter: Path | None,
    on_progress: Callable[[int], None] | None,
    beside: Sequence[Path] = (),
) -> list[Generation]:
    """Answer every prompt by a request of its own, as `Engine.generate` says, in the order of the prompts.

    `beside` are adapters that the same caller asks for in turn: the server is started with all of them.
    """
    adapters = beside or (() if adapter is None else (adapter,))
    results: list[Generation | None] = [None] * len(prompts)

    def answered(asked: Engine, prompt: Prompt) -> Generation:
        return asked.generate([prompt], sampling, adapter)[0]

    for done in engine.concurrently(answered, prompts, on_progress, adapters):
        for place, generation in done:
            results[place] = generation
            if on_progress:
                on_progress(1)
    return [result for result in results if result is not None]


@dataclass(frozen=True)
class OneServer:
    """A server as whoever asks it for several adapters in turn sees it: it has all of them, and no other takes its place meanwhile."""

    engine: ConcurrentEngine
    adapters: tuple[Path, ...]

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See `Engine.generate`."""
        return each_prompt(self.engine, prompts, sampling, adapter, on_progress, self.adapters)


class UnusableDevice(UserError):
    """The engine can't run on the device that it was given."""


class EngineError(RuntimeError):
    """The engine as a whole cannot work; trying the job again later may help, trying the next prompt does not."""
