"""Rebuilding messages: whatever came, Celery reads an envelope of our own making or none."""

from __future__ import annotations

import base64
import contextlib
import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.utils.json import loads

from workers.jobs.messages import LONGEST_MESSAGE, InvalidMessage, envelope, rebuild, rebuild_command

JOB = "0b2f5a52-7a3e-4a53-9a8f-0b6f3f6f1c11"
TASKS = {"training.train", "upkeep.ping"}
COMMANDS = {"ping", "revoke"}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HEADERS = st.sampled_from(list(envelope("training.train", [JOB], "training", JOB)["headers"]))
PROPERTIES = st.sampled_from(list(envelope("training.train", [JOB], "training", JOB)["properties"]))


def packed(body: Any) -> str:
    return base64.b64encode(json.dumps(body).encode()).decode()


def one(**parts: Any) -> dict[str, Any]:
    return envelope("training.train", [JOB], "training", JOB) | parts


def job_of(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))[0]


def assert_is_ours(message: dict[str, Any], queue: str) -> None:
    """Each part has the value, or at least the type, that Celery takes it for."""
    headers = message["headers"]
    expected = envelope(headers["task"], job_of(message), queue, headers["id"])
    tag = str(uuid.UUID(message["properties"]["delivery_tag"]))
    assert message == expected | {"properties": expected["properties"] | {"delivery_tag": tag}}
    assert headers["id"] == str(uuid.UUID(headers["id"]))
    assert headers["task"] in TASKS
    assert loads(json.dumps(message)) == message, "kombu reads another message than was written"


@settings(max_examples=200)
@given(name=HEADERS, value=anything)
def test_whatever_a_header_says_the_message_is_one_of_ours_or_none(name: str, value: Any):
    message = one()
    message["headers"][name] = value
    try:
        rebuilt = rebuild(json.dumps(message).encode(), "training", TASKS)
    except InvalidMessage:
        assert name == "task"
        return
    assert_is_ours(rebuilt, "training")
    assert job_of(rebuilt) == [JOB]


@settings(max_examples=200)
@given(name=PROPERTIES, value=anything)
def test_whatever_a_property_says_the_message_goes_its_own_way(name: str, value: Any):
    message = one()
    message["properties"][name] = value
    rebuilt = rebuild(json.dumps(message).encode(), "upkeep", TASKS)
    assert_is_ours(rebuilt, "upkeep")
    assert job_of(rebuilt) == [JOB]


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=200), anything.map(json.dumps), anything.map(lambda body: json.dumps(one(body=packed(body))))))
def test_whatever_lies_in_a_queue_it_is_read_or_refused(raw: bytes | str):
    for read in (lambda: rebuild(raw, "training", TASKS), lambda: rebuild_command(raw, COMMANDS)):
        rebuilt = None
        with contextlib.suppress(InvalidMessage):
            rebuilt = read()
        assert rebuilt is None or loads(json.dumps(rebuilt)) == rebuilt, "kombu reads another message than was written"


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"null", b"[]", b'"x"', b"{}", b"\xff\xfe", b"[" * LONGEST_MESSAGE, b"NaN", b"1e999", b"A" * (LONGEST_MESSAGE + 1)),
        *(json.dumps(one(body=body)) for body in (None, 7, "no base64", "e30=", packed([]), packed({"args": [JOB]}))),
        *(json.dumps(one(body=packed([arguments, {}, None]))) for arguments in ([JOB, JOB], [7], [[JOB]], ["not-an-id"], [{"$": 1}], "x")),
        json.dumps(one(body=packed([[JOB], {"more": 1}, None]))),
        json.dumps(one(body=packed([[JOB], {}, None]) + " " * LONGEST_MESSAGE)),
        json.dumps(one(headers={"task": "celery.chord_unlock"})),
        json.dumps(one(headers={"task": "os.system"})),
        json.dumps(one(headers={"task": ["training.train"]})),
        json.dumps({"body": packed({"task": "training.train", "args": [JOB]}), "properties": {}, "content-type": "application/json"}),
        json.dumps(one(**{"content-type": "application/x-python-serialize"})),
    ],
)
def test_what_names_no_task_and_no_job_of_ours_is_none(raw: bytes | str):
    with pytest.raises(InvalidMessage):
        rebuild(raw, "training", {*TASKS, "celery.chord_unlock"})


def test_a_chain_of_calls_that_rides_along_is_left_behind():
    riders = {
        "callbacks": [{"task": "training.train", "args": [JOB]}],
        "chain": [{"task": "os.system"}],
        "chord": {"task": "x"},
        "errbacks": [1],
    }
    rebuilt = rebuild(json.dumps(one(body=packed([[JOB], {}, riders]))), "training", TASKS)
    assert json.loads(base64.b64decode(rebuilt["body"])) == [[JOB], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]


def test_flower_finds_a_message_by_the_id_that_it_was_sent_with():
    assert rebuild(json.dumps(one()), "training", TASKS)["headers"]["id"] == JOB


def command(**parts: Any) -> bytes:
    body = {"method": "ping", "arguments": {}, "destination": None, "pattern": None, "matcher": None, **parts}
    return json.dumps(one(body=packed(body), headers={"clock": 7, "expires": 0})).encode()


def test_a_command_keeps_what_it_says():
    reply_to = {"exchange": "reply.celery.pidbox", "routing_key": "me"}
    rebuilt = rebuild_command(command(destination=["worker1@here"], reply_to=reply_to, ticket="t"), COMMANDS)
    body = json.loads(base64.b64decode(rebuilt["body"]))
    assert (body["method"], body["destination"], body["reply_to"], body["ticket"]) == ("ping", ["worker1@here"], reply_to, "t")
    assert rebuilt["headers"] == {"clock": 7}


@pytest.mark.parametrize(
    "parts",
    [
        {"method": "format_disk"},
        {"method": ["ping"]},
        {"arguments": [1]},
        {"destination": 5},
        {"destination": [5]},
        {"pattern": {}},
        {"reply_to": "me"},
        {"reply_to": {"exchange": ["x"], "routing_key": "y"}},
        {"ticket": 5},
    ],
)
def test_a_command_with_a_wrong_type_is_none(parts: dict[str, Any]):
    with pytest.raises(InvalidMessage):
        rebuild_command(command(**parts), COMMANDS)


@pytest.mark.parametrize("clock", [-1, 2**60, 1.5, "x", None, True, [1], float("inf")])
def test_a_clock_that_is_no_count_is_replaced(clock: Any):
    raw = json.loads(command())
    raw["headers"]["clock"] = clock
    assert rebuild_command(json.dumps(raw), COMMANDS)["headers"] == {"clock": 0}
