"""Writes the outputs of the systems that are scored beside each other.

`tuned` is what a user gets, guard included; `unguarded` is the same model's first answer. `zero_shot` and `few_shot` are its base with
the full instruction, each with the guard too. `rules`, `lead` and `as_is` need no model. A tuned model that does not beat those, and the
best prompt with the guard, is not worth anyone's weeks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, get_args

from schemas.payloads import PromptSystem
from workers.evaluation.prompting import GUARDED, PromptSystems
from workers.inference.writer import Writer
from workers.metrics import baselines

SYSTEMS = ("tuned", "unguarded", *get_args(PromptSystem), "rules", "lead", "as_is")


class Progress(Protocol):
    """Hears how far the systems are; either may raise to stop."""

    def begin(self, system: str) -> None:
        """Say which system writes now."""

    def rows(self, newly: int) -> None:
        """Say that this system has written for some rows more."""


@dataclass(frozen=True)
class HeldBackRow:
    """One held-back example: a tweet and what people wrote for it, at least one reference."""

    id: str
    tweet: str
    references: tuple[str, ...]
    source: str | None = None


@dataclass(frozen=True)
class GuardCost:
    """What the guard brought and cost."""

    retried: int
    fallbacks: int
    seconds_greedy: float
    seconds_guarded: float
    tweets: int

    def as_dict(self) -> dict[str, float | int]:
        """Return shares and rates, as the report shows them."""
        return {
            "n": self.tweets,
            "retried": self.retried,
            "fallbacks": self.fallbacks,
            "tweets_per_second_unguarded": round(self.tweets / self.seconds_greedy, 2),
            "tweets_per_second_guarded": round(self.tweets / self.seconds_guarded, 2),
        }


@dataclass(frozen=True)
class SystemOutputs:
    """Every system's outputs, in the order of the rows; how the best set of examples was chosen, or nothing."""

    outputs: dict[str, list[str]]
    guard: GuardCost
    choice: str = ""


def write(writer: Writer, rows: Sequence[HeldBackRow], prompts: PromptSystems, progress: Progress, *, guard_prompts: bool) -> SystemOutputs:
    """Let every system write, of the prompts those that have examples to show.

    Raises:
        EngineError: nothing can be generated.
    """
    tweets = [row.tweet for row in rows]
    progress.begin("tuned")
    outputs, cost = write_tuned(writer, tweets, progress.rows)
    for name in prompts.names:
        progress.begin(name)
        outputs[name] = [answer.greedy for answer in prompts.write(name, tweets, progress.rows).answers]
        if guard_prompts:
            progress.begin(f"{name}{GUARDED}")
            outputs[f"{name}{GUARDED}"] = [answer.text for answer in prompts.write(f"{name}{GUARDED}", tweets, progress.rows).answers]
    progress.begin("baselines")
    outputs["rules"] = [baselines.rules(tweet) for tweet in tweets]
    outputs["lead"] = [baselines.lead(tweet) for tweet in tweets]
    outputs["as_is"] = tweets
    return SystemOutputs({name: outputs[name] for name in SYSTEMS if name in outputs}, cost, prompts.choice)


def write_tuned(
    writer: Writer, tweets: Sequence[str], on_progress: Callable[[int], None] | None = None
) -> tuple[dict[str, list[str]], GuardCost]:
    """Return what the tuned model writes with the guard, `tuned`, and without it, `unguarded`; and what the guard cost."""
    # Weights are merged and kernels chosen at the first call: that is start-up, not what the guard costs.
    writer.warm_up(tweets[0])
    started = time.monotonic()
    drafts = writer.draft(tweets, None if on_progress is None else lambda _: on_progress(0))
    seconds_greedy = time.monotonic() - started
    results = writer.finish(tweets, drafts, on_progress)
    cost = GuardCost(
        retried=sum(result.tries > 1 for result in results),
        fallbacks=sum("fallback" in result.flags for result in results),
        seconds_greedy=seconds_greedy,
        seconds_guarded=time.monotonic() - started,
        tweets=len(tweets),
    )
    return {"tuned": [result.text for result in results], "unguarded": [result.greedy for result in results]}, cost
