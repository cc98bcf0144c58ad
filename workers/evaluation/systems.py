"""Writes the outputs of the systems that are scored beside each other.

`tuned` is what a user gets, guard included; `unguarded` is the same model's first answer. `zero_shot` and `few_shot` are its base with
the full instruction. `rules`, `lead` and `as_is` need no model: a tuned model that does not beat them is not worth anyone's weeks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.chat import Prompt
from schemas.payloads import Stage
from workers.inference.engine import Generation, Sampling
from workers.inference.guard import MAX_NEW_TOKENS
from workers.inference.writer import Writer
from workers.metrics import baselines
from workers.text import prompts

SYSTEMS = ("tuned", "unguarded", "zero_shot", "few_shot", "rules", "lead", "as_is")


@dataclass(frozen=True)
class HeldBackRow:
    """One held-back example: a tweet and what people wrote for it, at least one reference."""

    id: str
    tweet: str
    references: tuple[str, ...]


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
    """Every system's outputs, in the order of the rows."""

    outputs: dict[str, list[str]]
    guard: GuardCost


def write(
    writer: Writer,
    rows: Sequence[HeldBackRow],
    shots: Sequence[tuple[str, str]],
    on_step: Callable[[str], None],
) -> SystemOutputs:
    """Let every system write; `on_step` hears which one is at work and may raise to stop. Without `shots` there is no `few_shot`."""
    tweets = [row.tweet for row in rows]
    stage = writer.stage
    on_step("tuned")
    outputs, cost = write_tuned(writer, tweets)
    ways: dict[str, Callable[[str], Prompt]] = {"zero_shot": lambda tweet: prompts.zero_shot(tweet, stage)}
    if shots:
        ways["few_shot"] = lambda tweet: prompts.few_shot(tweet, shots, stage)
    for name, prompt in ways.items():
        on_step(name)
        answers = writer.engine.generate([prompt(tweet) for tweet in tweets], _greedy(stage))
        outputs[name] = [_text(generation) for generation in answers]
    on_step("baselines")
    outputs["rules"] = [baselines.rules(tweet) for tweet in tweets]
    outputs["lead"] = [baselines.lead(tweet) for tweet in tweets]
    outputs["as_is"] = tweets
    return SystemOutputs(outputs={name: outputs[name] for name in SYSTEMS if name in outputs}, guard=cost)


def write_tuned(writer: Writer, tweets: Sequence[str]) -> tuple[dict[str, list[str]], GuardCost]:
    """Return what the tuned model writes with the guard, `tuned`, and without it, `unguarded`; and what the guard cost."""
    # Weights are merged and kernels chosen at the first call: that is start-up, not what the guard costs.
    writer.warm_up(tweets[0])
    started = time.monotonic()
    drafts = writer.draft(tweets)
    seconds_greedy = time.monotonic() - started
    results = writer.finish(tweets, drafts)
    cost = GuardCost(
        retried=sum(result.tries > 1 for result in results),
        fallbacks=sum("fallback" in result.flags for result in results),
        seconds_greedy=seconds_greedy,
        seconds_guarded=time.monotonic() - started,
        tweets=len(tweets),
    )
    return {"tuned": [result.text for result in results], "unguarded": [result.greedy for result in results]}, cost


def _greedy(stage: Stage) -> Sampling:
    return Sampling(max_new_tokens=MAX_NEW_TOKENS[stage])


def _text(generation: Generation) -> str:
    return generation.texts[0] if generation.texts else ""
