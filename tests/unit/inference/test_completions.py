"""What a chat server says is read in one place: the answer, why there is none, and what it cost; whatever the bytes are."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import strategies as st

from schemas.chat import Message
from tests.support.openai_server import Answer, serving
from workers.inference.engine import EngineError
from workers.inference.remote import dialect
from workers.inference.remote.client import Backoff, ChatServer, Meter, Request
from workers.inference.remote.completions import (
    MOST_TOKENS,
    Choice,
    Completion,
    ErrorBody,
    Nonsense,
    Problem,
    TokenUsage,
    problem_sentence,
    read,
)
from workers.inference.remote.concurrency import ConcurrencyLimiter
from workers.inference.remote.error_reading import complaint
from workers.inference.remote.errors import PromptError, refused
from workers.inference.remote.transport import LedAway, Unreadable, decoded, onward
from workers.showable import showable
from workers.synthesis.teacher.parsing import text_of

TEXT = "The bus was late."


def body(message: Any, finish: str | None = "stop", usage: Any = None, **more: Any) -> bytes:
    told: dict[str, Any] = {"choices": [{"message": message, "finish_reason": finish}], **more}
    return json.dumps(told | ({} if usage is None else {"usage": usage})).encode()


def first(content: bytes, **options: Any) -> Choice:
    found = read(content, 1, **options)
    assert isinstance(found, Completion), found
    return found.choices[0]


@pytest.mark.parametrize(
    "message",
    [
        {"content": TEXT},
        {"content": [{"type": "text", "text": TEXT}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": TEXT}]},
        {"content": [{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "The bus "}, "was late."]},
        {"content": TEXT, "reasoning_content": "hm"},
        {"content": TEXT, "reasoning": "hm"},
        {"content": TEXT, "refusal": None, "tool_calls": []},
        {"content": f"<think>hm</think>{TEXT}"},
        {"content": f"hm\n</think>\n{TEXT}"},
        {"content": f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{TEXT}<|return|>"},
        {"content": f"{TEXT}<|im_end|>\n<|endoftext|>"},
        {"content": f"{TEXT}<|im_end|>\n<|im_start|>user\nand then?<|im_end|>"},
        {"content": f"<|start_header_id|>assistant<|end_header_id|>\n\n{TEXT}<|eot_id|>"},
        {"content": f"<|im_start|>assistant\n{TEXT}"},
        {"content": f"<|begin_of_box|>{TEXT}<|end_of_box|>"},
        {"content": f"<start_of_turn>model\n{TEXT}<end_of_turn>\n<eos>"},
        {"content": f"{TEXT}</s><s>[INST] more"},
        {"content": {"type": "text", "text": TEXT}},
        TEXT,
    ],
)
def test_the_text_of_an_answer_is_found_whatever_it_comes_in(message: Any) -> None:
    assert first(body(message)).text == TEXT


@pytest.mark.parametrize(
    ("message", "finish", "problem"),
    [
        ({"content": None, "reasoning_content": "I think and think"}, "length", Problem.THOUGHT),
        ({"content": ""}, "length", Problem.THOUGHT),
        ({"content": "<think>I think and think"}, "length", Problem.THOUGHT),
        ({"content": "<think>I think and think"}, "stop", Problem.THOUGHT),
        ({"content": None}, "stop", Problem.EMPTY),
        ({"content": "<think>hm</think>"}, "stop", Problem.EMPTY),
        ({"content": None, "refusal": "I can't help with that."}, "stop", Problem.REFUSED),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", Problem.REFUSED),
        ({"content": "half of"}, "content_filter", Problem.FILTERED),
        ({"content": None}, "SAFETY", Problem.FILTERED),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls", Problem.TOOL),
        ({"content": "The \0 bus"}, "stop", Problem.CONTROLS),
        ({"content": "The \x1b]0;X\x07 bus"}, "stop", Problem.CONTROLS),
        ({"content": "The \ud800 bus"}, "stop", Problem.CONTROLS),
        ({"content": 7}, "stop", Problem.EMPTY),
    ],
)
def test_an_answer_that_can_not_be_used_says_why(message: Any, finish: str, problem: Problem) -> None:
    choice = first(body(message, finish))
    assert (choice.text, choice.problem) == ("", problem)
    assert problem_sentence(problem, 256, "raise teacher.answer_tokens")


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 2}, TokenUsage(7, 2)),
        ({"prompt_tokens": 7.0, "completion_tokens": 2.0}, TokenUsage(7, 2)),
        ({"input_tokens": 7, "output_tokens": 2}, TokenUsage(7, 2)),
        ({"prompt_tokens": -7, "completion_tokens": 2}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": 2}, None),
        ({"prompt_tokens": MOST_TOKENS + 1, "completion_tokens": 2}, None),
        ({"prompt_tokens": "7", "completion_tokens": "2"}, TokenUsage(7, 2)),
        ({"prompt_tokens": "-7", "completion_tokens": 2}, None),
        ({"prompt_tokens": "７", "completion_tokens": 2}, None),
        ({"prompt_tokens": "9" * 5000, "completion_tokens": 2}, None),
        ({"prompt_tokens": {"n": 7}, "completion_tokens": 2}, None),
        ({"prompt_tokens": True, "completion_tokens": 2}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        ([7, 2], None),
    ],
)
def test_absurd_figures_of_usage_are_none(told: Any, usage: TokenUsage | None) -> None:
    found = read(body({"content": TEXT}, usage=told), 1)
    assert isinstance(found, Completion)
    assert found.usage == usage


def test_usage_is_read_of_answers_that_can_not_be_used() -> None:
    found = read(body({"content": None}, "length", {"prompt_tokens": 7, "completion_tokens": 2}), 1)
    assert isinstance(found, Completion)
    assert found.usage == TokenUsage(7, 2)
    nothing = read(b'{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}', 1)
    assert nothing == Nonsense("has no choices", TokenUsage(7, 2), paid=True, chat=True)


def test_a_page_for_people_is_called_one() -> None:
    assert read(b"<!doctype html><title>Login</title>", 1) == Nonsense("is a page of HTML")


def test_no_more_choices_are_taken_than_were_asked_for() -> None:
    many = json.dumps({"choices": [{"message": {"content": TEXT}}] * 30_000}).encode()
    found = read(many, 3)
    assert isinstance(found, Completion)
    assert len(found.choices) == 3


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[1]", b"{}", b"7", b"\xff\xfe", b"[" * 1_000_000, b'{"choices": 7}', b'{"a":' * 100_000]
)
def test_what_is_no_completion_is_nonsense_with_a_reason(content: bytes) -> None:
    found = read(content, 1)
    assert isinstance(found, Nonsense)
    assert found.why


@pytest.mark.parametrize(
    ("error", "status"),
    [({"message": "down", "code": 502}, 502), ({"message": "x", "code": "content_filter"}, 400), ("gone", 502), ({"code": 10**40}, 502)],
)
def test_an_error_inside_of_a_success_is_an_error(error: Any, status: int) -> None:
    found = read(json.dumps({"error": error}).encode(), 1)
    assert isinstance(found, ErrorBody)
    assert found.status == status


def events(*pieces: str, end: str = "data: [DONE]\n\n") -> bytes:
    return ("".join(f"data: {piece}\n\n" for piece in pieces) + end).encode()


def test_a_stream_of_events_is_one_answer() -> None:
    pieces = [json.dumps({"choices": [{"index": 0, "delta": {"content": part}}]}) for part in ("The ", "bus ", "was late.")]
    last = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
    found = read(b": keep-alive\n\n" + events(*pieces, last, usage), 1)
    assert isinstance(found, Completion)
    assert (found.texts, found.usage) == ([TEXT], TokenUsage(7, 2))


def test_a_stream_that_breaks_off_is_none_and_was_paid_for() -> None:
    piece = json.dumps({"choices": [{"index": 0, "delta": {"content": "The bus"}}]})
    assert read(events(piece, end=""), 1, stream=True) == Nonsense("breaks off", paid=True, chat=True)


def test_thoughts_of_a_stream_are_no_answer() -> None:
    piece = json.dumps({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": "length"}]})
    assert first(events(piece), stream=True).problem is Problem.THOUGHT


def test_where_answers_begin_inside_of_a_thought_one_that_is_cut_is_no_more() -> None:
    assert first(body({"content": f"The user wants\n</think>\n{TEXT}"})).opened
    assert not first(body({"content": f"<think>hm</think>{TEXT}"})).opened
    assert first(body({"content": "The user wants"}, "length"), opened=True).problem is Problem.THOUGHT
    assert first(body({"content": TEXT}), opened=True).text == TEXT


class TestTeachersText:
    @pytest.mark.parametrize(
        "said",
        [
            f'{{"text": "{TEXT}"}}',
            f'Here is the JSON:\n```json\n{{"text": "{TEXT}"}}\n```\nLet me know!',
            f'{{"text": "{TEXT}", "confidence": 0.9}}',
            f'[{{"text": "{TEXT}"}}]',
            f'{{"answer": {{"text": "{TEXT}"}}}}',
            f'{{"note": 1}} {{"text": "{TEXT}"}} {{"text": "{TEXT}"}}',
            f"{{'text': '{TEXT}'}}",
            f'```\n{{"text": "{TEXT}"}}\n```',
            f'{{"text": "{TEXT}",}}',
            f'The set {{a, b}} and {{not json}}:\n{{"Text": "{TEXT}"}} :}}',
            f'{{"summary": "{TEXT}"}}',
            json.dumps(f'{{"text": "{TEXT}"}}'),
            f'{{"text": "<think>hm</think>{TEXT}"}}',
        ],
    )
    def test_the_one_object_with_a_text_is_found(self, said: str) -> None:
        assert text_of(Choice(said), structured=True) == TEXT

    @pytest.mark.parametrize(
        "said",
        [
            '{"text": "The bus was late."} or {"text": "The bus was early."}',
            '{"text": 7}',
            '{"summary": "The bus was late.", "note": "It rained."}',
            '{"error": "no tweet was given"}',
            '{"text": "<think>so much"}',
            '{"text": "The bus',
            "The bus was late.",
            '{"text": ""}',
            '{"text":' * 10_000,
        ],
    )
    def test_where_there_is_none_or_several_nothing_is_guessed(self, said: str) -> None:
        assert text_of(Choice(said), structured=True) is Problem.MALFORMED

    @pytest.mark.parametrize("escaped", ["\\u0000", "\\ud800", "\\u001b]0;x", "\\u009b"])
    def test_controls_that_json_escapes_are_no_text(self, escaped: str) -> None:
        assert text_of(Choice(f'{{"text": "The {escaped} bus"}}'), structured=True) is Problem.CONTROLS

    @pytest.mark.parametrize(
        "said",
        [
            TEXT,
            f'"{TEXT}"',
            f"“{TEXT}”",
            f"Sure! Here is the summary: {TEXT}",
            f"Summary: {TEXT}",
            f"**Summary:** {TEXT}",
            f"```\n{TEXT}\n```",
        ],
    )
    def test_a_plain_answer_stands_without_its_lead_in(self, said: str) -> None:
        assert text_of(Choice(said), structured=False) == TEXT

    def test_what_was_cut_at_the_limit_is_not_taken_for_whole(self) -> None:
        assert text_of(Choice("The bus was", cut=True), structured=False) is Problem.CUT
        assert text_of(Choice('{"text": "The bus', cut=True), structured=True) is Problem.CUT
        assert text_of(Choice(f'{{"text": "{TEXT}"}} and', cut=True), structured=True) == TEXT


class TestBytes:
    def test_encodings_are_undone_in_turn(self) -> None:
        assert decoded(gzip.compress(b"text"), "gzip", 100) == b"text"
        assert decoded(gzip.compress(zlib.compress(b"text")), "deflate, GZIP", 100) == b"text"
        raw = zlib.compressobj(9, zlib.DEFLATED, -15)
        assert decoded(raw.compress(b"text") + raw.flush(), "deflate", 100) == b"text"
        assert decoded(gzip.compress(b"te") + gzip.compress(b"xt"), "x-gzip", 100) == b"text"
        assert decoded(b"text", "identity", 100) == b"text"
        assert decoded(gzip.compress(b"text"), "", 100) == b"text"

    @pytest.mark.parametrize(
        ("content", "encodings"),
        [
            (gzip.compress(gzip.compress(bytes(50_000_000))), "gzip, gzip"),
            (gzip.compress(bytes(50_000_000)), "gzip"),
            (gzip.compress(bytes(50_000_000)), ""),
            (b"", "br"),
            (b"", "gzip, gzip, gzip, gzip"),
            (b"no gzip", "gzip"),
            (gzip.compress(b"text")[:-4], "gzip"),
            (gzip.compress(b"") * 1000, "gzip"),
        ],
        ids=[
            "a bomb in a bomb",
            "a bomb",
            "a bomb that does not say so",
            "no brotli",
            "too many layers",
            "no gzip",
            "cut off",
            "a thousand members",
        ],
    )
    def test_what_is_too_long_or_broken_once_decoded_is_refused(self, content: bytes, encodings: str) -> None:
        with pytest.raises(Unreadable):
            decoded(content, encodings, 2**20)

    @pytest.mark.parametrize(
        ("location", "to"),
        [
            ("/v2/chat/completions", "http://a.example/v2/chat/completions"),
            ("https://a.example/v1/chat/completions", "https://a.example/v1/chat/completions"),
            ("completions/", "http://a.example/v1/chat/completions/"),
        ],
    )
    def test_a_redirect_on_the_host_is_followed(self, location: str, to: str) -> None:
        assert str(onward(httpx.URL("http://a.example/v1/chat/completions"), location)) == to

    @pytest.mark.parametrize(
        "location",
        [
            "http://b.example/v1",
            "https://b.example/v1",
            "http://a.example:81/v1",
            "https://a.example:444/v1",
            "http://u:p@a.example/v1",
            "file:///etc/passwd",
            "//b.example/v1",
            "http://a.example.b.example/",
            "http://[",
        ],
    )
    def test_a_redirect_elsewhere_is_not(self, location: str) -> None:
        with pytest.raises(LedAway):
            onward(httpx.URL("http://a.example/v1/chat/completions"), location)

    def test_nor_one_to_an_open_door(self) -> None:
        with pytest.raises(LedAway):
            onward(httpx.URL("https://a.example/v1"), "http://a.example/v1")


Explore = Callable[..., Any]

Measured = Callable[..., None]


WORDS = st.sampled_from(
    ["choices", "message", "content", "usage", "error", "text", "type", "delta", "finish_reason", "reasoning", "refusal", "code", "detail"]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["<think>", "</think>", "{", "\x00", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=5),
    max_leaves=25,
)
COMPLETIONS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries({"message": st.fixed_dictionaries({"content": JSON}) | JSON, "finish_reason": JSON}), max_size=3
        )
        | JSON,
        "usage": st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "input_tokens"]), JSON, max_size=3) | JSON,
    }
)
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | COMPLETIONS.map(lambda value: json.dumps(value).encode())
    | st.lists(COMPLETIONS | JSON, max_size=4).map(lambda values: events(*map(json.dumps, values)))
    | st.tuples(COMPLETIONS, st.integers(0, 200)).map(lambda cut: json.dumps(cut[0]).encode()[: cut[1]])
)


@pytest.mark.fault(34)
@pytest.mark.timeout(3600)
def test_whatever_a_server_answers_is_a_text_a_reason_or_an_error(explore: Explore, measured: Measured) -> None:
    def check(content: bytes, number: int, stream: bool, structured: bool) -> None:
        found = read(content, number, stream=stream)
        if isinstance(found, Completion):
            assert 0 < len(found.choices) <= number
            assert found.usage is None or 0 <= found.usage.tokens_out <= MOST_TOKENS
            for choice in found.choices:
                assert bool(choice.text) == (choice.problem is None)
                text = text_of(choice, structured=structured)
                assert text
                text.encode("utf-8")
                assert "\0" not in text
        elif isinstance(found, ErrorBody):
            assert 400 <= found.status < 600
        else:
            assert found.why

    measured(examples=explore(check, content=BODIES, number=st.integers(1, 3), stream=st.booleans(), structured=st.booleans()))


@pytest.mark.fault(34)
@pytest.mark.timeout(3600)
def test_whatever_an_error_says_becomes_one_line_without_the_tweet(explore: Explore, measured: Measured) -> None:
    tweet = "the night ferry to Bodø was late, again, and nobody told us"

    def check(status: int, content: bytes, quoted: bool) -> None:
        said = content + tweet.encode() if quoted else content
        found = complaint(status, said, [tweet])
        message = str(refused(found, "model", "tried"))
        assert len(message) < 900
        assert showable(message, one_line=True) == message
        assert "night ferry" not in message

    measured(examples=explore(check, status=st.integers(300, 599), content=BODIES, quoted=st.booleans()))


@pytest.mark.fault(34)
@pytest.mark.timeout(3600)
def test_whatever_is_encoded_stays_within_bounds(explore: Explore, measured: Measured) -> None:
    def check(content: bytes, encodings: str) -> None:
        with contextlib.suppress(Unreadable):
            assert len(decoded(content, encodings, 1000)) <= 1000

    codings = st.lists(st.sampled_from(["gzip", "deflate", "identity", "br", "", "x-gzip"]), max_size=4).map(", ".join)
    packed = (
        st.binary(max_size=50).map(lambda data: gzip.compress(data * 100))
        | st.binary(max_size=60).map(zlib.compress)
        | st.binary(max_size=900)
    )
    measured(examples=explore(check, content=packed, encodings=codings))


@pytest.mark.fault(34)
@pytest.mark.timeout(3600)
def test_whatever_comes_over_the_wire_is_a_completion_or_an_error_of_ours(explore: Explore, measured: Measured) -> None:
    answers: list[Answer] = []

    def check(status: int, content: bytes, headers: dict[str, str]) -> None:
        dialect.forget_dialects()
        answers[:] = [Answer(status, content, headers)]
        meter = Meter()
        try:
            found = asking.complete(Request("model", (Message("user", "the tram"),), 20), ConcurrencyLimiter(1), meter)
        except (PromptError, EngineError) as error:
            assert showable(str(error), one_line=True) == str(error)  # noqa: PT017 - both ways of ending are right
        else:
            assert found.choices
        assert 0 <= meter.tokens_in <= 10 * MOST_TOKENS

    kinds = {
        "content-type": st.sampled_from(["application/json", "text/event-stream; charset=utf-8", "text/html", ""]),
        "content-encoding": st.sampled_from(["gzip", "deflate", "gzip, gzip", "br", "identity"]),
        "retry-after": st.sampled_from(["inf", "nan", "-1", "0", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Feb 2026", "9" * 400, "x"]),
        "location": st.sampled_from(
            ["/v1/other", "http://127.0.0.2:1/", "file:///etc/passwd", "http://[", "", "?", "//", "ftp://a.example/"]
        ),
    }
    statuses = st.sampled_from([200, 200, 200, 201, 204, 301, 302, 307, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529])
    with serving(lambda _, __: answers[0]) as server:
        asking = ChatServer(server.url, "", 5.0, Backoff(tries=1, first=0.0, longest=0.0))
        measured(examples=explore(check, status=statuses, content=BODIES, headers=st.fixed_dictionaries({}, optional=kinds)))
        asking.close()
