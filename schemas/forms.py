"""Read and write the forms in which other tools keep pairs of a prompt and its answer.

A pair is a tweet and what should become of it. What is asked of the model is not part of it: a dataset's stage says that. So system
turns and instructions beside an input are not read, and are written as the stage's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeGuard

from schemas.paths import names_in, plain_value, value_at


class Form(StrEnum):
    """The forms, by their common names."""

    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt-completion"
    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    CSV = "csv"

    @property
    def suffix(self) -> str:
        """The ending of a file in this form."""
        return "csv" if self is Form.CSV else "jsonl"


_TOLD_BY = {Form.MESSAGES: "messages", Form.SHAREGPT: "conversations", Form.ALPACA: "output", Form.PROMPT_COMPLETION: "completion"}
"""The key by which the rows of a form are known."""

MAPPED = (Form.PROMPT_COMPLETION, Form.CSV)
"""The forms whose columns may bear other names."""

_NO_INPUT = ("<noinput>", "<no input>", "<no_input>", "<none>")
"""What stands in place of an input where Alpaca's generator had none."""

_TEXT_PARTS = ("text", "input_text", "output_text")
_THOUGHT_PARTS = ("thinking", "redacted_thinking", "reasoning", "thought", "summary_text")
_SPEAKERS = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_SPEAKERS |= dict.fromkeys(("model", "chatgpt", "bing", "bard"), "assistant")
_NOT_LEARNT = (0, "0")


class FormError(ValueError):
    """A row that is not in its form: the field at fault, and the reason, which does not quote it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


@dataclass(frozen=True)
class PromptAndAnswer:
    """A pair, whatever form it was read from."""

    prompt: str
    completion: str


def read_row(form: Form, row: Mapping[str, Any], prompt: str = "prompt", completion: str = "completion") -> PromptAndAnswer:
    """Return the pair that a row says.

    Args:
        form: how the row says it.
        row: a JSON object, or a row of a CSV by its header.
        prompt: the column or the dotted path of the tweet, in the forms of `MAPPED`.
        completion: that of its answer, likewise.

    Raises:
        FormError: the row is not in this form, or holds more or less than one tweet and one answer.
    """
    match form:
        case Form.MESSAGES:
            pair = _turns("messages", _list(row, "messages"), "role", "content")
        case Form.SHAREGPT:
            pair = _turns("conversations", _list(row, "conversations"), "from", "value")
        case Form.ALPACA:
            pair = _alpaca(row)
        case _:
            pair = _prompt_and_completion(row, prompt, completion)
    return pair


def write_row(form: Form, pair: PromptAndAnswer, instruction: str) -> dict[str, Any]:
    """Return a row that says `pair`; `instruction` stands where the form has a place for it."""
    match form:
        case Form.MESSAGES:
            turns = (("system", instruction), ("user", pair.prompt), ("assistant", pair.completion))
            return {"messages": [{"role": role, "content": content} for role, content in turns]}
        case Form.SHAREGPT:
            conversation = [{"from": "human", "value": pair.prompt}, {"from": "gpt", "value": pair.completion}]
            return {"conversations": conversation, "system": instruction}
        case Form.ALPACA:
            return {"instruction": instruction, "input": pair.prompt, "output": pair.completion}
        case _:
            return {"prompt": pair.prompt, "completion": pair.completion}


def dataset_info(form: Form, file_name: str) -> dict[str, Any]:
    """Return what LLaMA-Factory needs to know of a file in this form: an entry of its `dataset_info.json`."""
    match form:
        case Form.MESSAGES:
            tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
            return {"file_name": file_name, "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
        case Form.SHAREGPT:
            columns = {"messages": "conversations", "system": "system"}
            return {"file_name": file_name, "formatting": "sharegpt", "columns": columns}
        case Form.ALPACA:
            columns = {"prompt": "instruction", "query": "input", "response": "output"}
            return {"file_name": file_name, "formatting": "alpaca", "columns": columns}
        case _:
            return {"file_name": file_name, "formatting": "alpaca", "columns": {"prompt": "prompt", "response": "completion"}}


def _prompt_and_completion(row: Mapping[str, Any], prompt: str, completion: str) -> PromptAndAnswer:
    asked, answered = value_at(row, prompt), value_at(row, completion)
    if answered is None and row.get("chosen") is not None and row.get("rejected") is not None:
        raise FormError(completion, "it is missing; of a row of preferences `--map completion=chosen` learns the answer that was chosen")
    if asked is None or answered is None:
        lacking = prompt if asked is None else completion
        raise FormError(
            lacking, f"it is missing: the row's keys are {names_in(row)}. `--map` says which hold the prompt and the completion"
        )
    if _is_turns(asked) and _is_turns(answered):
        return _turns(prompt, [*asked, *answered], "role", "content")
    if _is_turns(answered):
        # A chosen answer may repeat the whole conversation, or be its last turn.
        turns = answered if len(answered) > 1 else [{"role": "user", "content": asked}, *answered]
        return _turns(completion, turns, "role", "content")
    if _is_turns(asked):
        return _turns(prompt, [*asked, {"role": "assistant", "content": answered}], "role", "content")
    return PromptAndAnswer(_said(asked, prompt), _said(answered, completion))


def _is_turns(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) and "role" in turn for turn in value)


def _alpaca(row: Mapping[str, Any]) -> PromptAndAnswer:
    if row.get("history"):
        raise FormError("history", "earlier turns can't be learnt here: one tweet and one answer are needed")
    given = plain_value(row.get("input"))
    without = given in (None, [], {}) or (isinstance(given, str) and (not given.strip() or given.strip().lower() in _NO_INPUT))
    if row.get("output") is None:
        raise FormError("output", _missing(row))
    return PromptAndAnswer(_text(row, "instruction" if without else "input"), _text(row, "output"))


def _turns(field: str, turns: Sequence[Any], role: str, content: str) -> PromptAndAnswer:
    spoken: list[tuple[str, str]] = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get(role), str):
            raise FormError(f"{field}.{number}", f"a turn of {role} and {content} is needed")
        speaker = _SPEAKERS.get(turn[role].lower())
        if speaker is None:
            raise FormError(f"{field}.{number}.{role}", f"{role} is none of {', '.join(_SPEAKERS)}")
        if speaker != "system":
            if turn.get("weight") in _NOT_LEARNT and speaker == "assistant":
                raise FormError(f"{field}.{number}.weight", "the answer has the weight 0: it is not to be learnt")
            spoken.append((speaker, _text(turn, content, f"{field}.{number}.{content}")))
    if [speaker for speaker, _ in spoken] != ["user", "assistant"]:
        raise FormError(field, f"one tweet and one answer are needed; there are {len(spoken)} turns or they are in another order")
    return PromptAndAnswer(spoken[0][1], spoken[1][1])


def _list(row: Mapping[str, Any], field: str) -> list[Any]:
    value = row.get(field)
    if not isinstance(value, list):
        raise FormError(field, "a list of turns is needed" if field in row else _missing(row))
    return value


def _text(row: Mapping[str, Any], field: str, name: str | None = None) -> str:
    return _said(plain_value(row.get(field)), name or field)


def _missing(row: Mapping[str, Any]) -> str:
    others = [form for form, key in _TOLD_BY.items() if key in row]
    advice = f". That is how --form {others[0]} has them" if others else ""
    return f"it is missing: the row's keys are {names_in(row)}{advice}"


def _said(value: object, name: str) -> str:
    """Return a text, or the text of a list of parts."""
    if isinstance(value, list) and value:
        value = _joined(value, name)
    if not isinstance(value, str):
        raise FormError(name, "text is needed" if value is not None else "it is missing")
    if not value.strip():
        raise FormError(name, "there is only white space")
    return value


def _joined(parts: Sequence[Any], name: str) -> str:
    """Return the text of content parts, without a thinking model's thoughts, with a space where two would run together."""
    joined = ""
    for number, part in enumerate(parts):
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind in _THOUGHT_PARTS:
            continue
        text = part.get("text") if isinstance(part, dict) else part
        if kind not in _TEXT_PARTS or not isinstance(text, str):
            what = f"of the type {kind}" if isinstance(kind, str) and kind.isidentifier() and len(kind) < 40 else "of another type"
            raise FormError(f"{name}.{number}", f"a part of text is needed, and this one is {what}")
        apart = joined and text and not joined[-1].isspace() and not text[0].isspace()
        joined += f" {text}" if apart else text
    return joined
