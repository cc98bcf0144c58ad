"""Reads a training file: from lines of JSON to token ids, a few hundred lines at a time.

A line is `{"prompt": [{"role": …, "content": …}, …], "completion": "…"}`. The base model's chat template turns it into text; the loss
is taken on the completion alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from schemas.chat import Message, Prompt, Role
from workers.base_models.chat_template import ChatFormat
from workers.training.protocol.outcome import RejectedLine

ENCODED_AT_ONCE = 512
ROLES: frozenset[str] = frozenset(get_args(Role))


@dataclass(frozen=True)
class Conversation:
    """One line of the training file: the prompt, and the completion that is learnt."""

    line: int
    prompt: Prompt
    completion: str


@dataclass(frozen=True, eq=False)
class TokenizedExample:
    """Token ids of one conversation, of which the last ones are the completion; it ends with the token that closes a turn."""

    ids: NDArray[np.int32]
    completion_length: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prompt_ids(self) -> NDArray[np.int32]:
        """The ids up to where the answer begins."""
        return self.ids[: len(self.ids) - self.completion_length]

    @property
    def completion_ids(self) -> NDArray[np.int32]:
        """The ids that are learnt."""
        return self.ids[len(self.ids) - self.completion_length :]


class BadLineError(ValueError):
    """A line is not a conversation: holds the field at fault and the reason, never the text."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def read_conversations(path: Path) -> Iterator[tuple[int, Conversation | RejectedLine]]:
    """Yield each line of the training file, with the bytes read so far. A line that is no conversation stops nothing.

    Raises:
        OSError: when the file can't be read.
    """
    read = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            read += len(line)
            if not line.strip():
                continue
            try:
                yield read, _parse(number, line.decode("utf-8", errors="replace"))
            except BadLineError as error:
                yield read, RejectedLine(line=number, field=error.field, reason=error.reason)


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
    rows: Iterator[tuple[int, Conversation | RejectedLine]], chat: ChatFormat, max_length: int
) -> Iterator[tuple[int, list[TokenizedExample | RejectedLine]]]:
    """Yield token ids of some hundred lines at a time, in their order, with the bytes read so far; longer examples are rejected.

    Args:
        rows: of `read_conversations`.
        chat: how the base model's tokenizer writes a conversation.
        max_length: tokens of prompt and completion together.
    """
    while chunk := list(islice(rows, ENCODED_AT_ONCE)):
        conversations = [row for _, row in chunk if isinstance(row, Conversation)]
        encoded = iter(chat.encode_pairs([(row.prompt, row.completion) for row in conversations]))
        yield chunk[-1][0], [_example(row, *next(encoded), max_length) if isinstance(row, Conversation) else row for _, row in chunk]


def _example(conversation: Conversation, prompt: list[int], completion: list[int], max_length: int) -> TokenizedExample | RejectedLine:
    length = len(prompt) + len(completion)
    if length > max_length:
        reason = f"{length} tokens, more than max_length={max_length}"
        return RejectedLine(line=conversation.line, field="prompt+completion", reason=reason)
    return TokenizedExample(np.array(prompt + completion, np.int32), len(completion))
