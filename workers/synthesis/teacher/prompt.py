"""Builds the prompts of a teacher: the template, curated pairs as earlier turns, and the tweet as data between `<tweet>` tags."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.chat import Message, Prompt
from schemas.payloads import Stage
from schemas.synthesis import TeacherSource
from workers.files import sha256
from workers.ingest import prompt_templates
from workers.ingest.prompt_templates import Template
from workers.text.checks import check
from workers.text.constraints import MAX_WORDS
from workers.text.control_strings import neutralise_common
from workers.text.prepare import prepare

VERSION = 1
"""Part of every fingerprint: it changes whenever the same recipe asks something else."""

SCHEMA: Mapping[str, object] = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}

_AS_JSON = 'Answer with JSON of this form and nothing else: {"text": "…"}'
_AS_TEXT = "Answer with the text alone."

_TWEET_TAG = re.compile(r"<\s*/?\s*tweet\s*>", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """A tweet of the training side that a teacher is to answer; `cluster` is that of its example."""

    tweet_id: str
    cluster: int
    stage: Stage


class StagePrompt:
    """The prompts of one stage.

    Args:
        teacher: the recipe's.
        stage: summary or clean.
        pairs: tweet and target of curated pairs of the training side, of which some are shown.

    Raises:
        UserError: the prompt is no template.
    """

    def __init__(self, teacher: TeacherSource, stage: Stage, pairs: Sequence[tuple[str, str]]) -> None:
        self._teacher = teacher
        self.stage = stage
        self._template = _template(teacher, stage)
        self._shown = draw_shots(pairs, teacher.examples, teacher.seed, stage)
        self.prompt_sha256 = sha256(_serialized(self.chat("", structured=False)))

    def chat(self, tweet: str, *, structured: bool) -> Prompt:
        """Return the chat about one tweet. A structured one shows and wants answers as JSON."""
        turns = [turn for shown, target in self._shown for turn in (self._asked(shown, structured), _answered(target, structured))]
        system = self._parts("", structured)[0]
        return (*((Message("system", system),) if system else ()), *turns, self._asked(tweet, structured))

    def fingerprint(self, tweet: str) -> str:
        """Return the name of the answers to this tweet: SHA-256 over model, full prompt and sampling.

        It is the same whether the server answers in JSON or not, so that an answer is found again whichever way it came.
        """
        teacher = self._teacher
        sampling = [teacher.candidates, teacher.temperature, teacher.answer_tokens, teacher.seed, teacher.structured]
        return sha256(json.dumps([VERSION, teacher.engine, teacher.model, _serialized(self.chat(tweet, structured=False)), sampling]))

    def _asked(self, tweet: str, structured: bool) -> Message:
        return Message("user", self._parts(tweet, structured)[1])

    def _parts(self, tweet: str, structured: bool) -> tuple[str, str]:
        return self._template.filled(tweet=delimited(tweet), answer=_AS_JSON if structured else _AS_TEXT, max_words=MAX_WORDS)


def delimited(tweet: str) -> str:
    """Return the tweet as a teacher sees it: between `<tweet>` tags, without anything that could end them or a turn of the chat."""
    inner, before = prepare(tweet), None
    while inner != before:  # what was taken out may have stood within another
        inner, before = neutralise_common(_TWEET_TAG.sub(" ", inner), " "), inner
    return f"<tweet>{' '.join(inner.split())}</tweet>"


def is_wordy(tweet: str) -> bool:
    """Whether there is anything to ask about: not if a tweet is links or handles alone."""
    return any(map(str.isalnum, delimited(tweet).removeprefix("<tweet>").removesuffix("</tweet>")))


def draw_shots(pairs: Sequence[tuple[str, str]], number: int, seed: int, stage: Stage) -> list[tuple[str, str]]:
    """Draw the pairs that are shown, by the seed, among those against which no check speaks.

    The order in which the pairs come does not matter. Where too few are without reproach, others fill up.
    """
    shuffled = sorted(pairs)
    random.Random(f"shown {seed} {stage.value}").shuffle(shuffled)
    chosen: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for tweet, target in shuffled:
        if len(chosen) == number:
            break
        (others if check(tweet, target, stage).flags else chosen).append((tweet, target))
    return (chosen + others)[:number]


def _template(teacher: TeacherSource, stage: Stage) -> Template:
    if teacher.prompt is None:
        return prompt_templates.parse_template(prompt_templates.own(stage), f"{stage.value}.txt")
    return prompt_templates.parse_template(teacher.prompt, "teacher.prompt")


def _answered(target: str, structured: bool) -> Message:
    return Message("assistant", json.dumps({"text": target}, ensure_ascii=False) if structured else target)


def _serialized(prompt: Prompt) -> str:
    return json.dumps([[message.role, message.content] for message in prompt])
