"""Builds the prompts of a tweet. A tweet is data: it stands alone in a turn of its own, or between `<tweet>` tags."""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.chat import Message, Prompt
from schemas.payloads import Stage
from workers.text.instructions import INSTRUCTION, TUNED_SYSTEM
from workers.text.prepare import prepare

_TWEET_TAG = re.compile(r"<\s*/?\s*tweet\s*>", re.IGNORECASE)


def tuned(text: str, stage: Stage) -> Prompt:
    """Returns the short prompt that models are tuned on: the instruction as system turn and the tweet as user turn."""
    return Message("system", TUNED_SYSTEM[stage]), Message("user", prepare(text))


def zero_shot(text: str, stage: Stage) -> Prompt:
    """Returns the full instruction and the tweet, for a model that was not tuned."""
    return Message("system", INSTRUCTION[stage]), Message("user", _delimited(text))


def few_shot(text: str, examples: Sequence[tuple[str, str]], stage: Stage) -> Prompt:
    """Returns the full instruction, `examples` (pairs of a tweet and its target) as earlier turns, and the tweet."""
    turns = [turn for tweet, target in examples for turn in (Message("user", _delimited(tweet)), Message("assistant", target))]
    return Message("system", INSTRUCTION[stage]), *turns, Message("user", _delimited(text))


def _delimited(text: str) -> str:
    unmarked = " ".join(_TWEET_TAG.sub(" ", prepare(text)).split())
    return f"<tweet>{unmarked}</tweet>"
