"""Reading what a teacher wrote: the text of an answer, as JSON or plain, with thoughts before it or a fence around it."""

from __future__ import annotations

import json
import re

_THOUGHTS = re.compile(r"^\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_FENCE = re.compile(r"\A```\w*\s*(.*?)\s*```\Z", re.DOTALL)


def bare(content: str) -> str:
    """An answer without the thoughts before it and the fence around it."""
    content = _THOUGHTS.sub("", content).strip()
    fenced = _FENCE.match(content)
    return fenced.group(1).strip() if fenced else content


def text_of(content: str, structured: bool) -> str | None:
    """The answer's text; None for what is malformed. A server that was asked for plain text may answer with JSON all the same."""
    if content.startswith("{"):
        try:
            told = json.loads(content)
        except ValueError:
            return None
        text = told.get("text") if isinstance(told, dict) and told.keys() == {"text"} else None
    else:
        text = None if structured else _unquoted(content)
    return text.strip() or None if isinstance(text, str) else None


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1] else text
