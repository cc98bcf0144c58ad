"""Breaks up the control strings of the common families of models in a text, for a server whose tokenizer nobody here has."""

from __future__ import annotations

import re

_COMMON = re.compile(
    r"<[|｜][^<>\n]{1,60}[|｜]>|</?s>|<(?:bos|eos|pad|unk|mask)>|</?(?:think|tool_call|tool_response|tools)>|</?(?:start|end)_of_turn>|<</?SYS>>"
    r"|\[/?(?:INST|THINK|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|AVAILABLE_TOOLS|ARGS|CALL_ID)\]|\[(?:BOS|EOS|PAD|UNK|MASK|CLS|SEP)\]",
    re.IGNORECASE,
)
"""What the templates of the common families write around a message."""

_ROUNDS = 8


def neutralise_common(text: str, instead: str | None = None) -> str:
    """Return `text` without a control string of the common families.

    Args:
        text: a tweet, or an answer that is shown.
        instead: what stands in place of each; None: itself, broken by a space.
    """
    for _ in range(_ROUNDS):  # what is taken out may have stood within another
        broken = _COMMON.sub(lambda match: f"{match.group()[0]} {match.group()[1:]}" if instead is None else instead, text)
        if broken == text:
            break
        text = broken
    return text
