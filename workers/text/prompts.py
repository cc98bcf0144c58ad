"""Builds the prompts of a tweet. A tweet is data: it stands alone in a turn of its own, or between `<tweet>` tags."""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.chat import Message, Prompt
from schemas.payloads import Stage
from workers.text.control_strings import neutralise_common
from workers.text.instructions import INSTRUCTION, JUDGE, TUNED_SYSTEM
from workers.text.prepare import prepare

_JUDGED_TAG = re.compile(r"<\s*/?\s*(?:tweet|a|b)\s*>", re.IGNORECASE)
_TWEET_TAG = re.compile(r"<\s*/?\s*tweet\s*>", re.IGNORECASE)


def tuned(text: str, stage: Stage) -> Prompt:
    """Returns the short prompt that models are tuned on: the instruction as system turn and the tweet as user turn."""
    return Message("system", TUNED_SYSTEM[stage]), Message("user", prepare(text))


def served(prompt: Prompt) -> Prompt:
    """Returns a prompt as it is sent to a server. A tweet is data: what it quotes of a template ends no turn there either."""
    return tuple(Message(turn.role, turn.content if turn.role == "system" else neutralise_common(turn.content)) for turn in prompt)


def zero_shot(text: str, stage: Stage) -> Prompt:
    """Returns the full instruction and the tweet, for a model that was not tuned."""
    return Message("system", INSTRUCTION[stage]), Message("user", _delimited(text))


def few_shot(text: str, examples: Sequence[tuple[str, str]], stage: Stage) -> Prompt:
    """Returns the full instruction, `examples` (pairs of a tweet and its target) as earlier turns, and the tweet."""
    turns = [turn for tweet, target in examples for turn in (Message("user", _delimited(tweet)), Message("assistant", target))]
    return Message("system", INSTRUCTION[stage]), *turns, Message("user", _delimited(text))


def judged(tweet: str, first: str, second: str, stage: Stage) -> Prompt:
    """Returns the question which of two texts that were written for a tweet is the better one: `A`, the first, `B`, or `tie`."""
    parts = (("tweet", prepare(tweet)), ("a", first), ("b", second))
    return Message("system", JUDGE[stage]), Message("user", "\n".join(f"<{tag}>{_untagged(text)}</{tag}>" for tag, text in parts))


def _untagged(text: str) -> str:
    """Return a text on one line without the tags that a judge reads, also such as appear when others are taken out."""
    while (without := _JUDGED_TAG.sub(" ", text)) != text:
        text = without
    return " ".join(text.split())


def _delimited(text: str) -> str:
    unmarked = " ".join(_TWEET_TAG.sub(" ", prepare(text)).split())
    return f"<tweet>{unmarked}</tweet>"
