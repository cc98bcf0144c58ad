"""Assembles the completion that the pieces of a stream of server-sent events make."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from workers.inference.remote.message_parts import loaded, message_of, parts_of, said_in

MOST_CHOICES = 64


def assembled(stream: str) -> object:
    """Return the completion whose pieces a stream of events holds; None for a stream that breaks off or holds none."""
    choices: dict[int, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    ended = False
    for event in _events(stream):
        if event.strip() == "[DONE]":
            ended = True
            break
        piece = loaded(event)
        if not isinstance(piece, dict):
            continue
        if piece.get("error"):
            return {"error": piece["error"]}
        whole |= {"usage": piece["usage"]} if piece.get("usage") else {}
        for choice in piece["choices"] if isinstance(piece.get("choices"), list) else ():
            ended = _joined(choices, choice) or ended
    if not ended or not choices:
        return None
    return whole | {"choices": [_whole(choices[index]) for index in sorted(choices)]}


def _events(stream: str) -> Iterator[str]:
    """Yield the data of each event, which may have several lines."""
    data: list[str] = []
    for line in re.split(r"\r\n|\r|\n", stream):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:
        yield "\n".join(data)


def _joined(choices: dict[int, dict[str, Any]], choice: object) -> bool:
    """Add a piece to its choice; return whether it is that choice's last."""
    if not isinstance(choice, dict):
        return False
    index = choice.get("index", 0)
    if not isinstance(index, int) or not 0 <= index < MOST_CHOICES:
        return False
    known = choices.setdefault(index, {"content": [], "thoughts": [], "refusal": [], "tool_calls": None, "finish_reason": None})
    message = message_of(choice)
    content, thoughts, refusal = parts_of(message.get("content"))
    known["content"].append(content)
    known["thoughts"].append(thoughts or said_in(message.get("reasoning_content")) or said_in(message.get("reasoning")))
    known["refusal"].append(refusal or said_in(message.get("refusal")))
    known["tool_calls"] = known["tool_calls"] or message.get("tool_calls")
    known["finish_reason"] = choice.get("finish_reason") or known["finish_reason"]
    return bool(choice.get("finish_reason"))


def _whole(known: Mapping[str, Any]) -> dict[str, Any]:
    message = {"content": "".join(known["content"]), "reasoning_content": "".join(known["thoughts"])}
    message |= {"refusal": "".join(known["refusal"]), "tool_calls": known["tool_calls"]}
    return {"message": message, "finish_reason": known["finish_reason"]}
