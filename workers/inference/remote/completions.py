"""Parses what a chat server answers: completions, whole or as a stream, which part of them is the answer, and what they cost.

Whatever the bytes are, they become a completion, a server's error, or nonsense with a reason. A choice that can't be used says why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from workers.inference.remote.event_stream import MOST_CHOICES, assembled
from workers.inference.remote.message_parts import loaded, message_of, parts_of, said_in
from workers.text.thoughts import split_thoughts

MOST_TOKENS = 2**24
"""Of one request: a server that says more has not counted."""

_LONGEST_COUNT = 12  # digits of a count that is told as a string
_MOST_ERROR = 500  # characters of a document's error that are looked at for a status
_CUT = frozenset({"length", "max_tokens", "max_output_tokens"})
_FILTERED = frozenset({"content_filter", "safety", "recitation", "prohibited_content", "blocklist", "spii", "sensitive", "blocked"})
# What a server leaves of its template that stops at another token: what opens the answer's turn, and the first token that ends it.
_TURN_START = re.compile(
    r"\A(?:<\|start_header_id\|>assistant<\|end_header_id\|>|<\|im_start\|>assistant\b|<start_of_turn>model\b|<\|[\w-]{1,40}\|>)\s*"
)
_TURN_END = re.compile(
    r"<\|(?:im_(?:end|start)|eo[mts]_?(?:id|token)?|end\w{0,20}|return|user|assistant|start_header_id)\|>|</s>|<(?:end|start)_of_turn>|<eos>"
)
_TOKEN_AT_END = re.compile(r"<\|[\w-]{1,40}\|>\Z")
_LONGEST_TOKEN = 44
_OPENERS = ("<", "[", "◁")
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


def problem_sentence(problem: Problem, limit: int, advice: str) -> str:
    """Return what was wrong with an answer, and what to do about it.

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
        thought: it came with thoughts.
        opened: it began inside of one, which the prompt had opened.
        likelihood: mean log-probability of its tokens; None where the server tells none.
    """

    text: str = ""
    problem: Problem | None = None
    cut: bool = False
    thought: bool = False
    opened: bool = False
    likelihood: float | None = None


@dataclass(frozen=True)
class TokenUsage:
    """The tokens that a request took, as the server counts them."""

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
    usage: TokenUsage | None = None
    written: int = 0
    structured: bool = False

    @property
    def texts(self) -> list[str]:
        """Return the texts of the choices that can be used."""
        return [choice.text for choice in self.choices if choice.problem is None]


@dataclass(frozen=True)
class ErrorBody:
    """An error in place of a completion, though the status was that of a success; `status` is what it says of itself."""

    status: int
    document: object


@dataclass(frozen=True)
class Nonsense:
    """No completion; `why` completes "the answer …".

    Attributes:
        why: what is wrong.
        usage: what it cost, as far as the server says so.
        paid: a model was at work all the same.
        chat: it has the form of a chat server's, so that the address is right.
    """

    why: str
    usage: TokenUsage | None = None
    paid: bool = False
    chat: bool = False


def read(content: bytes, number: int, *, stream: bool = False, opened: bool = False) -> Completion | ErrorBody | Nonsense:
    """Parse the body of a successful response.

    Args:
        content: decoded.
        number: of choices that were asked for; more are not taken.
        stream: it was sent as a stream of events.
        opened: answers of this model are known to begin inside of a thought, so that one which was cut is no more than that.
    """
    body = content.decode("utf-8-sig", "replace").lstrip()
    is_events = stream or body.startswith(("data:", "event:", ": "))
    document = assembled(body) if is_events else loaded(body)
    if document is None:
        why = "breaks off" if is_events else _kind_of(body)
        return Nonsense(why, paid=is_events, chat=is_events)
    if not isinstance(document, dict):
        return Nonsense("is JSON of another kind")
    usage = _usage(document.get("usage"))
    choices = document.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    failed = _failure(document, found)
    if failed is not None:
        return failed
    if not found:
        has_form = "choices" in document
        return Nonsense("has no choices" if has_form else "is JSON of another kind", usage, usage is not None, has_form)
    taken = [_choice(choice, opened) for choice in found[: min(number, MOST_CHOICES)]]
    return Completion(tuple(choice for choice, _ in taken), usage, sum(written for _, written in taken))


def _kind_of(body: str) -> str:
    if not body:
        return "is empty"
    return "is a page of HTML" if body.startswith("<") else "is no JSON"


def _failure(document: Mapping[str, Any], choices: list[dict[str, Any]]) -> ErrorBody | None:
    """Return the error that stands in place of a completion, if there is one."""
    error = document.get("error")
    if not error and choices and not message_of(choices[0]).get("content"):
        error = choices[0].get("error")
    if not error:
        return None
    code = error.get("code", error.get("status")) if isinstance(error, dict) else None
    digits = str(code)[:_MOST_ERROR]
    status = int(digits) if digits.isascii() and digits.isdigit() and len(digits) == 3 else 0
    if not 400 <= status < 600:
        status = 400 if isinstance(code, str) and code else 502
    return ErrorBody(status, {"error": error})


def _choice(choice: Mapping[str, Any], opened: bool) -> tuple[Choice, int]:
    """Return a choice, and how many characters were written for it."""
    message = message_of(choice)
    content, thoughts, refusal = parts_of(message.get("content"))
    thoughts += said_in(message.get("reasoning_content")) or said_in(message.get("reasoning")) or said_in(message.get("thinking"))
    refusal = refusal or said_in(message.get("refusal"))
    ended = str(choice.get("finish_reason") or choice.get("native_finish_reason") or "")[:40].lower()
    cut = ended in _CUT
    spoken = split_thoughts(content, opened=opened and cut)
    text = _without_turns(spoken.text)
    thought = spoken.thought or bool(thoughts)
    began_inside = spoken.thought and not content.lstrip().startswith(_OPENERS)
    problem = _problem(text, refusal, ended, unfinished=spoken.unfinished, tool=_calls(message))
    likelihood = _likelihood(choice.get("logprobs"))
    return Choice("" if problem else text, problem, cut, thought, began_inside, likelihood), len(content) + len(thoughts) + len(refusal)


def _likelihood(told: object) -> float | None:
    """Return the mean log-probability of a choice's tokens; None where a server tells none, or numbers that are none."""
    tokens = told.get("content") if isinstance(told, dict) else None
    if not isinstance(tokens, list) or not tokens:
        return None
    each = [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
    numbers = [
        float(one) for one in each if isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one) and one <= 0
    ]
    return sum(numbers) / len(numbers) if len(numbers) == len(each) else None


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


def _without_turns(text: str) -> str:
    """Return the text of the first turn, without the tokens around it and what was written beyond its end."""
    while match := _TURN_START.match(text):
        text = text[match.end() :]
    ends = _TURN_END.search(text)
    text = text[: ends.start()].rstrip() if ends else text
    while match := _TOKEN_AT_END.search(text, max(0, len(text) - _LONGEST_TOKEN)):
        text = text[: match.start()].rstrip()
    return text


def _calls(message: Mapping[str, Any]) -> bool:
    return bool(message.get("tool_calls") or message.get("function_call"))


def _usage(counts: object) -> TokenUsage | None:
    """Return the counts of a server; None where one is missing, or is none that a request can have."""
    if not isinstance(counts, dict):
        return None
    tokens_in = _count(counts.get("prompt_tokens", counts.get("input_tokens")))
    tokens_out = _count(counts.get("completion_tokens", counts.get("output_tokens")))
    return TokenUsage(tokens_in, tokens_out) if tokens_in and tokens_out is not None else None


def _count(count: object) -> int | None:
    if isinstance(count, str) and len(count) <= _LONGEST_COUNT and count.isascii() and count.isdigit():
        count = int(count)
    if isinstance(count, bool) or not isinstance(count, (int, float)) or not math.isfinite(count):
        return None
    return int(count) if 0 <= count <= MOST_TOKENS else None
