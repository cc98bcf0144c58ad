"""Which requests of OpenAI's chat completions are read, and which are refused with what sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.payloads import Stage
from workers.inference.guard import Guarded
from workers.inference.writer import Part, Writer
from workers.serving import chat, plain
from workers.serving.batching import Answer
from workers.serving.refusals import Refused
from workers.serving.served import Served
from workers.text.instructions import TUNED_SYSTEM

SERVED = Served(7, "demo", Stage.SUMMARY, 0, Writer("base", (Part(Path("adapter"), Stage.SUMMARY),)))
TWEET = "The bus 12 was late again."


def request(**changes: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": TWEET}]} | changes


def read(**changes: Any) -> chat.Asked:
    return chat.read(request(**changes), SERVED, (), most=200)


def refused(**changes: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        read(**changes)
    assert TWEET not in caught.value.message
    return caught.value


def test_the_users_message_is_the_tweet() -> None:
    assert read() == chat.Asked(TWEET, streams=False, counts=False)


def test_parts_of_text_are_one_tweet() -> None:
    parts = [{"type": "text", "text": "The bus 12 "}, {"type": "text", "text": "was late again."}]
    assert read(messages=[{"role": "user", "content": parts}]).tweet == TWEET


def test_the_models_own_instruction_may_stand_before_it() -> None:
    system = {"role": "system", "content": TUNED_SYSTEM[Stage.SUMMARY]}
    assert read(messages=[system, {"role": "user", "content": TWEET}]).tweet == TWEET


@pytest.mark.parametrize(
    "before",
    [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello"},
        {"role": "tool", "content": TUNED_SYSTEM[Stage.SUMMARY]},
    ],
)
def test_another_instruction_or_a_conversation_is_refused(before: dict[str, str]) -> None:
    found = refused(messages=[before, {"role": "user", "content": TWEET}])
    assert (found.status, found.param) == (400, "messages[0]")
    assert "Summarize the tweet." in found.message


@pytest.mark.parametrize(
    "harmless",
    [
        {"temperature": 0},
        {"temperature": None},
        {"top_p": 1},
        {"n": 1},
        {"seed": 42},
        {"max_tokens": 40},
        {"max_completion_tokens": 500},
        {"user": "someone"},
        {"tools": []},
        {"response_format": {"type": "text"}},
        {"stream": False},
    ],
)
def test_what_changes_nothing_is_taken(harmless: dict[str, Any]) -> None:
    assert read(**harmless).tweet == TWEET


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"temperature": 0.7}, "unsupported_value"),
        ({"temperature": False}, "unsupported_value"),
        ({"n": 2}, "unsupported_value"),
        ({"n": True}, "unsupported_value"),
        ({"stop": ["."]}, "unsupported_value"),
        ({"logprobs": True}, "unsupported_value"),
        ({"tools": [{"type": "function"}]}, "unsupported_value"),
        ({"response_format": {"type": "json_object"}}, "unsupported_value"),
        ({"max_tokens": 5}, "invalid_value"),
        ({"guided_json": {}}, "unsupported_parameter"),
        ({"stream": "yes"}, "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "invalid_value"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(asked: dict[str, Any], code: str) -> None:
    found = refused(**asked)
    assert (found.status, found.code, found.param) == (400, code, next(iter(asked)))
    assert found.body()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("content", [None, 3, [], [{"type": "image_url", "image_url": {}}], [{"type": "text"}]])
def test_a_message_that_is_no_text_is_refused(content: object) -> None:
    found = refused(messages=[{"role": "user", "content": content}])
    assert found.status == 400


@pytest.mark.parametrize("messages", [None, [], ["hello"], {}, [{"role": "assistant", "content": "hi"}]])
def test_messages_without_a_users_turn_at_the_end_are_refused(messages: object) -> None:
    assert refused(messages=messages).status == 400


def test_a_tweet_that_would_be_cut_is_refused() -> None:
    found = refused(messages=[{"role": "user", "content": "a" * 201}])
    assert found.code == "context_length_exceeded"
    assert "201" in found.message


def test_a_model_that_is_not_served_is_refused_with_the_names_that_are() -> None:
    with pytest.raises(Refused, match="demo or in-service") as caught:
        chat.read(request(model="gpt-4"), SERVED, ("in-service",), most=200)
    assert caught.value.status == 404


def test_a_stream_ends_with_the_tokens_used_and_the_mark_of_its_end() -> None:
    answer = Answer(SERVED, Guarded("The bus 12 was late.", (), 1, 20, 6, "The bus 12 was late."))
    events = list(chat.events(answer, counts=True))
    assert events[-1] == "data: [DONE]\n\n"
    assert '"usage": {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26}' in events[-2]
    assert all(event.startswith("data: ") and event.endswith("\n\n") for event in events)


def test_an_answer_that_is_no_summary_says_which_checks_failed() -> None:
    answer = Answer(SERVED, Guarded("The bus 13 was late.", ("new_number",), 2, 20, 6, "x"))
    row = plain.answered([TWEET], [answer], several=False)
    assert row["flags"] == ["new_number"]
    assert row["checks"]["promise"] is True
    assert row["checks"]["faithful"] is False
    assert row["checks"]["cost"] > 1


@pytest.mark.parametrize("body", [{}, {"text": []}, {"text": ["a"] * 4}, {"text": "a", "model": "x"}, {"text": [None]}])
def test_a_plain_request_of_another_form_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        plain.read(body, most=200, rows=3)
