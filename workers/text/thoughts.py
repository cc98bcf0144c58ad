"""Separates what a reasoning model writes before its answer from the answer.

split_thoughts("<think>Short, then.</think>The bus was late.")   # Spoken("The bus was late.", thought=True, unfinished=False)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

_NAMES = (
    r"(?:ant|seed:|longcat_|mm:)?think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis|inner_(?:thoughts?|monologue)|"
    r"internal_monologue|chain_of_thought|thought_process"
)
_INDENT = 80  # characters before a mark that may be blanks
# Opening and closing mark of each family of models; the tags close by their own name.
_MARKS = re.compile(
    rf"<\s*(?P<tag>{_NAMES})(?:\s[^<>\n]{{0,200}})?>|<\s*/\s*(?P<end_tag>{_NAMES})\s*>"
    r"|(?P<bracket>\[THINK(?:ING)?\])|(?P<end_bracket>\[/THINK(?:ING)?\])"
    r"|(?P<triangle>◁think▷)|(?P<end_triangle>◁/think▷)"
    r"|(?P<token><\|(?:begin_of_thought|start_thinking|think|thinking)\|>)"
    r"|(?P<end_token><\|(?:end_of_thought|end_thinking|/think|/thinking)\|>)"
    r"|(?P<unused><unused94>)|(?P<end_unused><unused95>)"
    r"|(?P<channel><\|channel>\s*(?:thought|analysis)\b)|(?P<end_channel><channel\|>)",
    re.IGNORECASE,
)
# Some servers leave the mark out that ends a channel's name.
_CHANNELS = re.compile(
    r"<\|channel\|>\s*(?P<name>analysis|commentary|final|\w+)(?:[^<]{0,200}(?:<\|constrain\|>[^<]{0,50})?<\|message\|>|\s*<\|constrain\|>\s*\w+)?",
    re.IGNORECASE,
)
_TURN_END = re.compile(r"<\|(?:end|return|start|call)\|>")
# The same where the server took the control tokens out and left the channels' names.
_BARE_CHANNELS = re.compile(r"assistant\s*final(?=\W|[A-Z])")
_ANSWER = re.compile(
    r"\A(?:<answer>(?P<answer>.*?)(?:</answer>|\Z)"
    r"|<\|begin_of_solution\|>(?P<solution>.*?)(?:<\|end_of_solution\|>|\Z)"
    r"|<\|start_response\|>(?P<response>.*?)(?:<\|end_response\|>|\Z))\s*\Z",
    re.IGNORECASE | re.DOTALL,
)


class Spoken(NamedTuple):
    """What was said.

    Attributes:
        text: the answer without the thoughts, stripped; empty where there is none.
        thought: whether there were thoughts.
        unfinished: whether they did not end, so that no answer followed.
    """

    text: str
    thought: bool
    unfinished: bool


def split_thoughts(output: str, *, opened: bool = False) -> Spoken:
    """Return the answer of `output` without the thoughts around it.

    A mark opens a thought only at the start of a line, so that one which is quoted in a sentence stays. A closing mark without an opening
    one ends a thought that the prompt had opened: all before it was thought. What opens and never closes is a thought to the end. An
    object of JSON stays whole: the marks in it are those of its values.

    Args:
        output: what the model wrote.
        opened: the prompt's end had opened a thought already, so that what is written begins inside it.
    """
    if _is_object(output):
        return Spoken(output.strip(), thought=False, unfinished=False)
    channels = _by_channel(output)
    if channels is not None:
        return channels
    kept, thought, unfinished = _outside(output, opened)
    text = kept.strip()
    wrapped = _ANSWER.match(text)
    if wrapped:
        text = next(group for group in wrapped.groups() if group is not None).strip()
    return Spoken(text, thought, unfinished)


def _is_object(output: str) -> bool:
    """Whether all of it is one object of JSON."""
    if not output.lstrip().startswith("{") or not output.rstrip().endswith("}"):
        return False
    try:
        json.loads(output, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


def _outside(output: str, opened: bool) -> tuple[str, bool, bool]:
    """Return what stands outside of all thoughts, whether there was one, and whether the last did not end."""
    kept: list[str] = []
    inside = "" if opened else None  # the mark's family; empty: whichever closes first
    thought, place = opened, 0
    for start, end, family, closes in _found(output):
        if inside is None and closes:
            kept, thought, place = [], True, end
        elif inside is None and _begins_line(output, place, start):
            kept.append(output[place:start])
            inside, thought = family, True
        elif closes and inside in ("", family):
            inside, place = None, end
    if inside is None:
        kept.append(output[place:])
    return "".join(kept), thought, inside is not None


def _found(output: str) -> Iterator[tuple[int, int, str, bool]]:
    """Find the marks in `output`: where each starts and ends, its family, and whether it closes."""
    for match in _MARKS.finditer(output):
        kind = match.lastgroup or ""
        name = match[kind].lower() if kind.endswith("tag") else kind.removeprefix("end_")
        yield match.start(), match.end(), name, kind.startswith("end_")


def _begins_line(output: str, place: int, mark: int) -> bool:
    """Whether nothing but blanks stands before a mark in its line, or since the last thought."""
    before = output[max(place, mark - _INDENT) : mark].rstrip(" \t\r")
    return before.endswith("\n") or (not before and mark - place <= _INDENT)


def _by_channel(output: str) -> Spoken | None:
    """Return the last final channel of a model that writes to channels; None for any other."""
    opening = list(_CHANNELS.finditer(output))
    if not opening:
        names = list(_BARE_CHANNELS.finditer(output)) if output.startswith("analysis") else []
        return Spoken(output[names[-1].end() :].strip(), True, False) if names else None
    final = next((match for match in reversed(opening) if match["name"].lower() == "final"), None)
    thought = any(match["name"].lower() != "final" for match in opening)
    if final is None:
        return Spoken("", True, True)
    ends = _TURN_END.search(output, final.end())
    return Spoken(output[final.end() : ends.start() if ends else len(output)].strip(), thought, False)
