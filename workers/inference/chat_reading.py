"""The one reader of what a chat server says: completions whole or as a stream, what of them is the answer, and what it cost.

Whatever the bytes are, they become a completion, a server's error, or nonsense with a reason. A choice that can't be used says why.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from workers.text.thoughts import split_thoughts

MOST_TOKENS = 2**24
"""Of one request: a server that says more has not counted."""

_MOST_CHOICES = 64
_MOST_ERROR = 500  # characters of a document's error that are looked at for a status
_CUT = frozenset({"length", "max_tokens", "max_output_tokens"})
_FILTERED = frozenset({"content_filter", "safety", "recitation", "prohibited_content", "blocklist", "spii", "sensitive", "blocked"})
_TURN_END = re.compile(r"(?:<\|[\w-]{1,40}\|>|</s>|<end_of_turn>)\Z")
_LONGEST_TURN_END = 44
# Controls but tab and line ends, halves of surrogate pairs, and code points that stand for no character.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class Problem(StrEnum):
    """Why a choice can't be used."""

    THOUGHT = "thought_to_limit"
    CUT = "cut_at_limit"
    EMPTY = "empty"
    REFUSED = "refused"
    FILTERED = "filtered"
    TOOL = "tool_call"
    CONTROLS = "control_characters"
    MALFORMED = "malformed"


def sentence(problem: Problem, limit: int, advice: str) -> str:
    """What was wrong with an answer, and what to do about it.

    Args:
        problem: what was wrong.
        limit: tokens that the answer might have.
        advice: what to do if they were too few.
    """
    return {
        Problem.THOUGHT: f"it thought to the limit of {limit} tokens and gave no answer: {advice}",
        Problem.CUT: f"its answer was cut at the limit of {limit} tokens: {advice}",
        Problem.EMPTY: "it answered with nothing",
        Problem.REFUSED: "the model declined to answer",
        Problem.FILTERED: "the server's filter of contents withheld the answer",
        Problem.TOOL: "it called a tool instead of answering: serve it without tools",
        Problem.CONTROLS: "its answers hold control characters or halves of characters",
        Problem.MALFORMED: "its answers are malformed, however often it was asked",
    }[problem]


@dataclass(frozen=True)
class Choice:
    """One of the answers.

    Attributes:
        text: without thoughts, stripped; empty where there is a problem.
        problem: why it can't be used.
        cut: it ended because the limit of tokens was reached.
        thought: it came with thoughts, or ended some that the prompt had opened.
    """

    text: str = ""
    problem: Problem | None = None
    cut: bool = False
    thought: bool = False


@dataclass(frozen=True)
class Usage:
    """What the server says that it cost."""

    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class Completion:
    """A chat completion, as far as it matters here.

    Attributes:
        choices: as many as were asked for at most.
        usage: None where the server counts nothing, or absurdly.
        written: characters of all choices, thoughts included.
        structured: it was asked for as JSON of a schema.
    """

    choices: tuple[Choice, ...]
    usage: Usage | None = None
    written: int = 0
    structured: bool = False

    @property
    def texts(self) -> list[str]:
        """What the choices say that can be used."""
        return [choice.text for choice in self.choices if choice.problem is None]


@dataclass(frozen=True)
class ErrorBody:
    """An error in place of a completion, though the status was that of a success; `status` is what it says of itself."""

    status: int
    document: object


@dataclass(frozen=True)
class Nonsense:
    """No completion; `why` completes "the answer …". `paid` says that a model was at work all the same."""

    why: str
    usage: Usage | None = None
    paid: bool = False


def read(content: bytes, number: int, *, stream: bool = False) -> Completion | ErrorBody | Nonsense:
    """What the body of a successful response says.

    Args:
        content: decoded.
        number: of choices that were asked for; more are not taken.
        stream: it was sent as a stream of events.
    """
    said = content.decode("utf-8-sig", "replace").lstrip()
    is_events = stream or said.startswith(("data:", "event:", ": "))
    document = _assembled(said) if is_events else loaded(said)
    if document is None:
        why = "breaks off" if is_events else "is no JSON" if said else "is empty"
        return Nonsense(why, paid=is_events)
    if not isinstance(document, dict):
        return Nonsense("is JSON of another kind")
    usage = _usage(document.get("usage"))
    choices = document.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    failed = _failure(document, found)
    if failed is not None:
        return failed
    if not found:
        return Nonsense("has no choices" if "choices" in document else "is JSON of another kind", usage, paid=usage is not None)
    taken = [_choice(choice) for choice in found[: min(number, _MOST_CHOICES)]]
    return Completion(tuple(choice for choice, _ in taken), usage, sum(written for _, written in taken))


def loaded(said: str) -> object:
    """JSON as a value; None for what is none, or nested too deeply to be any."""
    try:
        return json.loads(said, strict=False)
    except (ValueError, RecursionError):
        return None


def _failure(document: Mapping[str, Any], choices: list[dict[str, Any]]) -> ErrorBody | None:
    """The error that stands where an answer should."""
    error = document.get("error")
    if not error and choices and not _message(choices[0]).get("content"):
        error = choices[0].get("error")
    if not error:
        return None
    code = error.get("code", error.get("status")) if isinstance(error, dict) else None
    digits = str(code)[:_MOST_ERROR]
    status = int(digits) if digits.isascii() and digits.isdigit() and len(digits) == 3 else 0
    if not 400 <= status < 600:
        status = 400 if isinstance(code, str) and code else 502
    return ErrorBody(status, {"error": error})


def _message(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    message = choice.get("message", choice.get("delta"))
    if isinstance(message, str):
        return {"content": message}
    return message if isinstance(message, dict) else {"content": choice.get("text")}


def _choice(choice: Mapping[str, Any]) -> tuple[Choice, int]:
    """A choice, and how many characters were written for it."""
    message = _message(choice)
    content, thoughts, refusal = _parts(message.get("content"))
    thoughts += _said(message.get("reasoning_content")) or _said(message.get("reasoning")) or _said(message.get("thinking"))
    refusal = refusal or _said(message.get("refusal"))
    ended = str(choice.get("finish_reason") or choice.get("native_finish_reason") or "")[:40].lower()
    spoken = split_thoughts(content)
    text = _without_turn_end(spoken.text)
    cut, thought = ended in _CUT, spoken.thought or bool(thoughts)
    problem = _problem(text, refusal, ended, unfinished=spoken.unfinished, tool=_calls(message))
    return Choice("" if problem else text, problem, cut, thought), len(content) + len(thoughts) + len(refusal)


def _problem(text: str, refusal: str, ended: str, *, unfinished: bool, tool: bool) -> Problem | None:
    if ended in _FILTERED:
        return Problem.FILTERED
    if text:
        return Problem.CONTROLS if _CONTROLS.search(text) else None
    if refusal:
        return Problem.REFUSED
    if unfinished or ended in _CUT:
        return Problem.THOUGHT
    if tool:
        return Problem.TOOL
    return Problem.EMPTY


def _without_turn_end(text: str) -> str:
    """The text without the tokens that end a turn, which some servers leave."""
    while match := _TURN_END.search(text, max(0, len(text) - _LONGEST_TURN_END)):
        text = text[: match.start()].rstrip()
    return text


def _calls(message: Mapping[str, Any]) -> bool:
    return bool(message.get("tool_calls") or message.get("function_call"))


def _parts(content: object) -> tuple[str, str, str]:
    """The text, the thoughts and the refusal of a content, which is a string or a list of parts."""
    if not isinstance(content, list):
        return _said(content), "", ""
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    for part in content:
        kind = str(part.get("type", "text"))[:40] if isinstance(part, dict) else "text"
        if kind in ("thinking", "reasoning", "reasoning_text", "redacted_thinking"):
            thoughts.append(_said(part))
        elif kind == "refusal":
            refusals.append(_said(part.get("refusal")) or _said(part))
        else:
            texts.append(_said(part))
    return "".join(texts), "".join(thoughts), "".join(refusals)


def _said(value: object) -> str:
    """The text of a string, or of a part that holds one under one of its usual names."""
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


def _usage(told: object) -> Usage | None:
    """The figures of a server; None where one is missing, or is none that a request can have."""
    if not isinstance(told, dict):
        return None
    tokens_in = _count(told.get("prompt_tokens", told.get("input_tokens")))
    tokens_out = _count(told.get("completion_tokens", told.get("output_tokens")))
    return Usage(tokens_in, tokens_out) if tokens_in and tokens_out is not None else None


def _count(told: object) -> int | None:
    if isinstance(told, bool) or not isinstance(told, (int, float)) or not math.isfinite(told):
        return None
    return int(told) if 0 <= told <= MOST_TOKENS else None


def _assembled(said: str) -> object:
    """The completion that a stream of events tells piece by piece; None for a stream that breaks off or tells none."""
    choices: dict[int, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    ended = False
    for event in _events(said):
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


def _events(said: str) -> Iterator[str]:
    """The data of each event; one may have several lines."""
    data: list[str] = []
    for line in re.split(r"\r\n|\r|\n", said):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:
        yield "\n".join(data)


def _joined(choices: dict[int, dict[str, Any]], choice: object) -> bool:
    """Add a piece to its choice; whether it is that choice's last."""
    if not isinstance(choice, dict):
        return False
    index = choice.get("index", 0)
    if not isinstance(index, int) or not 0 <= index < _MOST_CHOICES:
        return False
    known = choices.setdefault(index, {"content": [], "thoughts": [], "refusal": [], "tool_calls": None, "finish_reason": None})
    message = _message(choice)
    content, thoughts, refusal = _parts(message.get("content"))
    known["content"].append(content)
    known["thoughts"].append(thoughts or _said(message.get("reasoning_content")) or _said(message.get("reasoning")))
    known["refusal"].append(refusal or _said(message.get("refusal")))
    known["tool_calls"] = known["tool_calls"] or message.get("tool_calls")
    known["finish_reason"] = choice.get("finish_reason") or known["finish_reason"]
    return bool(choice.get("finish_reason"))


def _whole(known: Mapping[str, Any]) -> dict[str, Any]:
    message = {"content": "".join(known["content"]), "reasoning_content": "".join(known["thoughts"])}
    message |= {"refusal": "".join(known["refusal"]), "tool_calls": known["tool_calls"]}
    return {"message": message, "finish_reason": known["finish_reason"]}
