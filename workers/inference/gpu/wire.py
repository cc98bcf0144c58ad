"""Defines what a worker and the process of its engine say to each other: JSON, a message a line.

| from | message | meaning |
|---|---|---|
| worker | `{"build": {"engine", "base", "device", "threads"}}` | the first line: load this |
| process | `{"ready": true}` | it is loaded |
| worker | `{"number", "prompts", "sampling", "adapter"}` | answer these |
| process | `{"number", "done": N}` | N prompts more are answered |
| process | `{"number", "generations": […]}` | all are, in order |
| process | `{"number", "failed": {"kind", "message"}}` | they can't be; the number is 0 while it loads |

The kind of a failure is a key of `FAILURES`, or `crash`, after which the process ends.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.chat import Message, Prompt
from workers.errors import UserError
from workers.inference.engine import EngineError, Generation, Sampling, UnusableDevice

CRASH = "crash"
FAILURES: dict[str, type[Exception]] = {"device": UnusableDevice, "user": UserError, "engine": EngineError}
"""What is raised on the worker's side for each kind of failure; the first that fits on the other side."""


def request(number: int, prompts: Sequence[Prompt], sampling: Sampling, adapter: Path | None) -> dict[str, Any]:
    """Return the message that asks for answers to `prompts`."""
    return {
        "number": number,
        "prompts": [[[message.role, message.content] for message in prompt] for prompt in prompts],
        "sampling": dataclasses.asdict(sampling),
        "adapter": None if adapter is None else str(adapter),
    }


def read_request(message: dict[str, Any]) -> tuple[list[Prompt], Sampling, Path | None]:
    """Return what `request` put into a message."""
    prompts = [tuple(Message(role, content) for role, content in prompt) for prompt in message["prompts"]]
    return prompts, Sampling(**message["sampling"]), None if message["adapter"] is None else Path(message["adapter"])


def answers(number: int, generations: Sequence[Generation]) -> dict[str, Any]:
    """Return the message that brings the answers."""
    return {"number": number, "generations": [dataclasses.asdict(generation) for generation in generations]}


def read_answers(message: dict[str, Any]) -> list[Generation]:
    """Return what `answers` put into a message."""
    return [Generation(**{**one, "texts": tuple(one["texts"])}) for one in message["generations"]]


def failure(number: int, error: Exception, message: str) -> dict[str, Any]:
    """Return the message that says why there are no answers."""
    kind = next((kind for kind, fitting in FAILURES.items() if isinstance(error, fitting)), CRASH)
    return {"number": number, "failed": {"kind": kind, "message": message}}


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as a line: ASCII, so that no separator of lines can be in it."""
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return the message of a line."""
    message: dict[str, Any] = json.loads(line)
    return message
