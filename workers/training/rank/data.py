"""Reads training data: from lines of JSON to token ids, and which rank sees which of them at which step.

A line is `{"prompt": [{"role": …, "content": …}, …], "completion": "…"}`. The base model's chat template turns it into text; the loss
is taken on the completion alone. Every rank reads the whole file and computes the same plan, so the ranks need not talk about data.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from schemas.chat import Message, Prompt, Role
from workers.base_models.chat_template import chat_format
from workers.training.protocol.outcome import RejectedLine

POOL_BATCHES = 50
ROLES: frozenset[str] = frozenset(get_args(Role))


@dataclass(frozen=True)
class Conversation:
    """One line of the training file: the prompt, and the completion that is learnt."""

    line: int
    prompt: Prompt
    completion: str


@dataclass(frozen=True)
class TokenizedExample:
    """Token ids of one conversation; the completion ends with the token that closes a turn."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


class BadLineError(ValueError):
    """A line is not a conversation: holds the field at fault and the reason, never the text."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def read_conversations(path: Path) -> tuple[list[Conversation], list[RejectedLine]]:
    """Read the training file. Lines that are no conversation are returned beside the good ones and stop nothing.

    Raises:
        OSError: when the file can't be read.
    """
    good: list[Conversation] = []
    bad: list[RejectedLine] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                good.append(_parse(number, line))
            except BadLineError as error:
                bad.append(RejectedLine(line=number, field=error.field, reason=error.reason))
    return good, bad


def _parse(number: int, line: str) -> Conversation:
    try:
        row = json.loads(line)
    except ValueError:
        raise BadLineError("line", "not JSON") from None
    if not isinstance(row, dict):
        raise BadLineError("line", "not a JSON object")
    prompt, completion = row.get("prompt"), row.get("completion")
    if not isinstance(prompt, list) or not prompt:
        raise BadLineError("prompt", "a list of messages is needed")
    if not isinstance(completion, str) or not completion.strip():
        raise BadLineError("completion", "text is needed")
    return Conversation(number, tuple(_message(message) for message in prompt), completion)


def _message(message: Any) -> Message:
    if not isinstance(message, dict) or message.get("role") not in ROLES or not isinstance(message.get("content"), str):
        raise BadLineError("prompt", "each message needs a role (system, user or assistant) and content")
    return Message(message["role"], message["content"])


def encode_conversations(
    conversations: Sequence[Conversation], tokenizer: Any, max_length: int
) -> tuple[list[TokenizedExample], list[RejectedLine]]:
    """Return the token ids of each conversation of at most `max_length` tokens; the longer ones are returned as rejected.

    Args:
        conversations: what `read_conversations` returned.
        tokenizer: a Hugging Face tokenizer with a chat template.
        max_length: tokens of prompt and completion together.

    Raises:
        UnusableTemplate: the tokenizer's chat template can't be used.
    """
    good: list[TokenizedExample] = []
    bad: list[RejectedLine] = []
    for conversation in conversations:
        example = _encode(conversation, tokenizer)
        if len(example) <= max_length:
            good.append(example)
        else:
            reason = f"{len(example)} tokens, more than max_length={max_length}"
            bad.append(RejectedLine(line=conversation.line, field="prompt+completion", reason=reason))
    return good, bad


def _encode(conversation: Conversation, tokenizer: Any) -> TokenizedExample:
    chat = chat_format(tokenizer)
    return TokenizedExample(tuple(chat.prompt_ids(conversation.prompt)), tuple(chat.answer_ids(conversation.completion)))


@dataclass(frozen=True)
class Visit:
    """The `number`-th time that an example is seen in this run. No two ranks ever share a number."""

    number: int
    index: int


def _visits(examples: int, count: int, seed: int) -> Iterator[Visit]:
    generator = random.Random(seed)
    order: list[int] = []
    for number in range(count):
        if not order:
            order = list(range(examples))
            generator.shuffle(order)
        yield Visit(number, order.pop())


def plan_batches(lengths: Sequence[int], steps: int, global_batch: int, seed: int) -> list[list[Visit]]:
    """Return the global batch of every step, equal on every rank.

    Each example is seen once before any is seen again. Within a pool of 50 batches they are sorted by length, so that little is
    padding, and the batches of a pool come in random order.
    """
    generator = random.Random(seed + 1)
    visits = list(_visits(len(lengths), steps * global_batch, seed))
    batches: list[list[Visit]] = []
    for begin in range(0, len(visits), POOL_BATCHES * global_batch):
        pool = sorted(visits[begin : begin + POOL_BATCHES * global_batch], key=lambda visit: (lengths[visit.index], visit.number))
        cut = [pool[at : at + global_batch] for at in range(0, len(pool), global_batch)]
        generator.shuffle(cut)
        batches += cut
    return batches


def micro_batches(batch: Sequence[Visit], rank: int, world_size: int, accumulation: int) -> list[list[Visit]]:
    """Return the part of a global batch that `rank` sees: of each of `accumulation` slices every `world_size`-th visit."""
    size = len(batch) // accumulation
    return [list(batch[at : at + size][rank::world_size]) for at in range(0, size * accumulation, size)]
