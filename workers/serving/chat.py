"""Reads requests of OpenAI's chat completions, and answers in their form.

The user's message is the tweet. It gets the model's own system prompt and chat template, as everywhere, and is checked under guard before
a word of the answer leaves: a streamed answer therefore comes whole. A parameter that would change nothing is taken, one that can't be
honoured is refused.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.inference.guard import MAX_NEW_TOKENS
from workers.serving.batching import Answer
from workers.serving.refusals import Refused, unfit
from workers.serving.served import Served
from workers.serving.texts import check_tweet
from workers.text.instructions import INSTRUCTION, TUNED_SYSTEM

DONE = "data: [DONE]\n\n"

_READ = frozenset({"model", "messages", "stream", "stream_options"})

# What a client may send, and what it may be: each asks for what is done anyway, or for nothing that shows in the answer.
_HARMLESS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "temperature": (lambda value: _is_number(value) and value == 0, "only 0: decoding is greedy, and by beams where the guard asks again"),
    "top_p": (lambda value: _is_number(value) and 0 < value <= 1, "only above 0 and up to 1: decoding draws nothing"),
    "n": (lambda value: value == 1 and value is not True, "only 1"),
    "presence_penalty": (lambda value: _is_number(value) and value == 0, "only 0"),
    "frequency_penalty": (lambda value: _is_number(value) and value == 0, "only 0"),
    "logit_bias": (lambda value: value == {}, "none"),
    "logprobs": (lambda value: value is False, "only false"),
    "stop": (lambda value: value == [], "none: an answer ends with its sentence"),
    "tools": (lambda value: value == [], "none"),
    "tool_choice": (lambda value: value == "none", "only none"),
    "response_format": (lambda value: value == {"type": "text"}, 'only {"type": "text"}'),
    "modalities": (lambda value: value == ["text"], 'only ["text"]'),
    "store": (lambda value: value is False, "only false: nothing is stored"),
    "seed": (lambda value: isinstance(value, int), "a whole number: the same tweet gets the same answer with each"),
    "user": (lambda value: isinstance(value, str), "a text, which is not kept"),
    "safety_identifier": (lambda value: isinstance(value, str), "a text, which is not kept"),
    "metadata": (lambda value: isinstance(value, dict), "an object, which is not kept"),
}
_LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class Asked:
    """A request for one summary.

    Attributes:
        tweet: the user's message.
        streams: whether the answer is sent as events.
        counts: whether the events end with the tokens used.
    """

    tweet: str
    streams: bool
    counts: bool


def read(body: Mapping[str, Any], served: Served, aliases: Sequence[str], most: int) -> Asked:
    """Return what a request asks for.

    Args:
        body: of the request.
        served: what is served now.
        aliases: other names under which it may be asked for.
        most: characters of a tweet.

    Raises:
        Refused: it is no request of this kind, or asks for what can't be honoured.
    """
    check_model(body.get("model"), served, aliases)
    for name, value in body.items():
        if name not in _READ and value is not None:
            _check_parameter(name, value, served)
    streams = _flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and (not streams or not isinstance(options, dict) or set(options) - {"include_usage"}):
        raise unfit("stream_options is an object with include_usage, beside stream: true", "stream_options")
    return Asked(_tweet_of(body.get("messages"), served, most), streams, _flag(options or {}, "include_usage"))


def check_model(name: object, served: Served, aliases: Sequence[str]) -> None:
    """Make sure that a model is asked for that is served.

    Raises:
        Refused: another one is, or none.
    """
    if not isinstance(name, str):
        raise unfit("model is missing: GET /v1/models lists what is served", "model", "missing_parameter")
    if name != served.name and name not in aliases:
        known = " or ".join((served.name, *aliases))
        raise Refused(404, f"no such model is served here: ask for {known}", "model_not_found", "model")


def completion(answer: Answer) -> dict[str, Any]:
    """Return a chat completion."""
    message = {"role": "assistant", "content": answer.result.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_head(answer, "chat.completion"), "choices": [choice], "usage": _usage(answer), "tweetmill": answer.verdict()}


def events(answer: Answer, *, counts: bool) -> Iterator[str]:
    """Yield a chat completion as server-sent events."""
    head = _head(answer, "chat.completion.chunk")
    usage: dict[str, Any] = {"usage": None} if counts else {}
    for delta, reason in (({"role": "assistant", "content": ""}, None), ({"content": answer.result.text}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        extra = {"tweetmill": answer.verdict()} if reason else {}
        yield _event({**head, "choices": [choice], **usage, **extra})
    if counts:
        yield _event({**head, "choices": [], "usage": _usage(answer)})
    yield DONE


def _check_parameter(name: str, value: Any, served: Served) -> None:
    if name in _LIMITS:
        most = MAX_NEW_TOKENS[served.stage]
        if not isinstance(value, int) or isinstance(value, bool) or value < most:
            raise unfit(f"{name} may be left out, or be {most} or more: an answer never has more tokens, and is not cut", name)
        return
    if name not in _HARMLESS:
        raise unfit(f"the parameter {name[:64]!r} is not supported here: leave it out", name[:64], "unsupported_parameter")
    fits, allowed = _HARMLESS[name]
    if not fits(value):
        raise unfit(f"{name} may be left out, or be: {allowed}", name, "unsupported_value")


def _tweet_of(messages: object, served: Served, most: int) -> str:
    """Return the user's message.

    Raises:
        Refused: there is not exactly one, or there are others than the model's own instruction.
    """
    if not isinstance(messages, list) or not messages:
        raise unfit("messages is missing: send one of the role user, whose content is the tweet", "messages", "missing_parameter")
    if not all(isinstance(message, dict) for message in messages):
        raise unfit("messages is a list of objects with role and content", "messages", "invalid_type")
    *before, last = messages
    if last.get("role") != "user":
        raise unfit("the last message is of the role user: its content is the tweet", "messages")
    own = (TUNED_SYSTEM[served.stage], INSTRUCTION[served.stage])
    for place, message in enumerate(before):
        if message.get("role") not in ("system", "developer") or _text_of(message.get("content"), f"messages[{place}]") not in own:
            sentence = f"send the tweet alone: the model gets its own instruction, {own[0]!r}, and answers no other and no conversation"
            raise unfit(sentence, f"messages[{place}]", "unsupported_value")
    return check_tweet(_text_of(last.get("content"), f"messages[{len(before)}]"), most, f"messages[{len(before)}].content")


def _text_of(content: object, param: str) -> str:
    if isinstance(content, str):
        return content
    parts = [_part(part) for part in content] if isinstance(content, list) else []
    texts = [part for part in parts if part is not None]
    if not parts or len(texts) < len(parts):
        raise unfit(f"the content of {param} is no text, or has parts that are none", f"{param}.content", "invalid_type")
    return "".join(texts)


def _part(part: object) -> str | None:
    """Return the text of a part of a message; None where it holds something else."""
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    return text if isinstance(text, str) else None


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise unfit(f"{name} is true or false", name, "invalid_type")
    return bool(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": answer.served.name}


def _usage(answer: Answer) -> dict[str, int]:
    read_, written = answer.result.tokens_in, answer.result.tokens_out
    return {"prompt_tokens": read_, "completion_tokens": written, "total_tokens": read_ + written}


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
