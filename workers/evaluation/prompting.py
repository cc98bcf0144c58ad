"""Lets a base answer by prompts alone, untuned: with the full instruction, with examples, or with the best of several sets of examples.

The sets are drawn from the training split, and the best one is chosen on other training rows: the rows that are scored choose nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import get_args

from schemas.chat import Prompt
from schemas.payloads import PromptSystem, Stage
from workers.errors import UserError
from workers.inference.guard import Guarded, guarded, unguarded
from workers.inference.writer import Writer
from workers.metrics.sari import sentence_sari
from workers.text import prompts

GUARDED = "_guarded"
"""The end of a name that puts a prompt's answers under the guard: what a tuned model must beat is the best prompt with the guard."""

CHOICE_ROWS = 24
"""Training rows that a set of examples is chosen by."""

_FEWEST_CHOICE_ROWS = 8

Pair = tuple[str, str]
"""A tweet and its target."""

Progress = Callable[[int], None] | None


def is_prompt_system(name: str) -> bool:
    """Return whether a system is a prompt alone."""
    return name in get_args(PromptSystem)


@dataclass(frozen=True)
class ExamplePool:
    """What prompts may show of the training split.

    Attributes:
        sets: examples to show, each set as many; the first is what `few_shot` shows.
        choice: other pairs, by which `few_shot_best` chooses a set.
    """

    sets: tuple[tuple[Pair, ...], ...] = ()
    choice: tuple[Pair, ...] = ()

    @staticmethod
    def needed(shots: int, sets: int) -> int:
        """Return how many pairs fill a pool."""
        return shots * sets + CHOICE_ROWS

    @classmethod
    def of(cls, pairs: Sequence[Pair], shots: int, sets: int) -> ExamplePool:
        """Return the pool of `pairs`, in their order. With too few of them for two sets and a choice there is one set, and no choice."""
        several = min(sets, (len(pairs) - _FEWEST_CHOICE_ROWS) // shots)
        if several < 2:
            first = tuple(pairs[:shots])
            return cls((first,) if first else ())
        shown = several * shots
        return cls(
            tuple(tuple(pairs[start : start + shots]) for start in range(0, shown, shots)), tuple(pairs[shown : shown + CHOICE_ROWS])
        )


@dataclass(frozen=True)
class PromptRun:
    """What a prompt wrote for some tweets, and the seconds that it takes by itself, also where its first answers were known."""

    answers: list[Guarded]
    seconds: float


class PromptSystems:
    """The prompts of one base for one pool of examples."""

    def __init__(self, writer: Writer, pool: ExamplePool) -> None:
        self._writer = writer
        self._pool = pool
        self._chosen: int | None = None
        self._drafts: dict[int | None, tuple[Sequence[str], PromptRun]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Those without the guard that the pool has examples for."""
        return ("zero_shot", *["few_shot"] * bool(self._pool.sets), *["few_shot_best"] * bool(self._pool.choice))

    def write(self, name: str, tweets: Sequence[str], on_progress: Progress = None) -> PromptRun:
        """Return the answers of a system; the first answers of a prompt are kept for the same with the guard.

        Raises:
            UserError: the training split has too few examples for it.
            EngineError: nothing can be generated.
        """
        plain = name.removesuffix(GUARDED)
        if plain not in self.names:
            raise UserError(f"{name}: the dataset's training split has too few examples that a person wrote to choose from; leave it out")
        examples = None if plain == "zero_shot" else self._best(on_progress) if plain == "few_shot_best" else 0
        if not name.endswith(GUARDED):
            return self._draft(examples, tweets, on_progress)
        first = self._draft(examples, tweets, None if on_progress is None else lambda _: on_progress(0))
        began, stage = time.monotonic(), self._writer.stage
        answers = guarded(self._writer.engine, tweets, None, stage, on_progress, prompt=self._prompt_of(examples), first=first.answers)
        return PromptRun(answers, first.seconds + time.monotonic() - began)

    @property
    def choice(self) -> str:
        """How `few_shot_best` chose, in words; empty before it did."""
        if self._chosen is None:
            return ""
        sets, rows = len(self._pool.sets), len(self._pool.choice)
        return f"{sets} sets, by SARI on {rows} training rows: set {self._chosen + 1}"

    def _best(self, on_progress: Progress) -> int:
        """Return the set whose first answers to the rows of choice have the highest mean SARI; the first of equal ones."""
        if self._chosen is None:
            tweets = [tweet for tweet, _ in self._pool.choice]
            scores = []
            for place in range(len(self._pool.sets)):
                answers = self._ask(place, tweets, None if on_progress is None else lambda _: on_progress(0))
                rows = zip(self._pool.choice, answers, strict=True)
                scores.append(mean(sentence_sari(tweet, answer.greedy, [target]) for (tweet, target), answer in rows))
            self._chosen = scores.index(max(scores))
        return self._chosen

    def _draft(self, examples: int | None, tweets: Sequence[str], on_progress: Progress) -> PromptRun:
        kept = self._drafts.get(examples)
        if kept is None or kept[0] != tweets:
            began = time.monotonic()
            answers = self._ask(examples, tweets, on_progress)
            kept = (tweets, PromptRun(answers, time.monotonic() - began))
            self._drafts[examples] = kept
        elif on_progress is not None:
            on_progress(len(tweets))
        return kept[1]

    def _ask(self, examples: int | None, tweets: Sequence[str], on_progress: Progress) -> list[Guarded]:
        return unguarded(self._writer.engine, tweets, None, self._writer.stage, on_progress, prompt=self._prompt_of(examples))

    def _prompt_of(self, examples: int | None) -> Callable[[str, Stage], Prompt]:
        if examples is None:
            return prompts.zero_shot
        shown = self._pool.sets[examples]
        return lambda tweet, stage: prompts.few_shot(tweet, shown, stage)
