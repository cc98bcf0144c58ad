"""A chat as models, servers and training files take it: turns with a role and a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a chat. The content is data: no encoder reads control tokens out of it."""

    role: Role
    content: str


Prompt = tuple[Message, ...]


def fold_system(prompt: Prompt) -> Prompt:
    """Return the chat without a system turn: its text opens the first user turn, for models and servers that know no such role."""
    system = "\n\n".join(message.content for message in prompt if message.role == "system")
    turns = [message for message in prompt if message.role != "system"]
    if not system:
        return tuple(turns)
    if not turns or turns[0].role != "user":
        return (Message("user", system), *turns)
    return (Message("user", f"{system}\n\n{turns[0].content}"), *turns[1:])
