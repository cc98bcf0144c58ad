"""Reads the parts of a chat message as servers send them: a string, a list of parts, or an object under one of the usual names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def loaded(content: str) -> object:
    """Parse JSON; return None for what is none, or nested too deeply."""
    try:
        return json.loads(content, strict=False)
    except (ValueError, RecursionError):
        return None


def message_of(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the message of a choice, or what of it came in one piece of a stream."""
    message = choice.get("message", choice.get("delta"))
    if isinstance(message, str):
        return {"content": message}
    return message if isinstance(message, dict) else {"content": choice.get("text")}


def parts_of(content: object) -> tuple[str, str, str]:
    """Return the text, the thoughts and the refusal of a content, which is a string or a list of parts."""
    if not isinstance(content, list):
        return said_in(content), "", ""
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    for part in content:
        kind = str(part.get("type", "text"))[:40] if isinstance(part, dict) else "text"
        if kind in ("thinking", "reasoning", "reasoning_text", "redacted_thinking"):
            thoughts.append(said_in(part))
        elif kind == "refusal":
            refusals.append(said_in(part.get("refusal")) or said_in(part))
        else:
            texts.append(said_in(part))
    return "".join(texts), "".join(thoughts), "".join(refusals)


def said_in(value: object) -> str:
    """Return the text of a string, or of a part that holds one under one of its usual names."""
    for _ in range(4):
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return "".join(each if isinstance(each, str) else _text_of_part(each) for each in value)
        if not isinstance(value, dict):
            return ""
        value = next((value[name] for name in ("text", "value", "content", "thinking", "reasoning") if value.get(name)), None)
    return ""


def _text_of_part(part: object) -> str:
    text = part.get("text", part.get("content")) if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""
