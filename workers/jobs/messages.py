"""Rebuilds messages: takes the task's name and the job's id from one, and makes everything else that Celery reads anew.

Whoever can write to Redis can put anything into a queue, and Celery and kombu trust what they find there: a header of the wrong type stops
or crashes a worker. So none of it reaches them. `rebuild` takes the raw text of a message and returns an envelope of our own making.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Container
from typing import Any

# Ours are below 1 KiB. A command to the workers may name many ids.
LONGEST_MESSAGE = 16 * 1024
LONGEST_COMMAND = 1024 * 1024

# Celery's own tasks, which could run other tasks.
_FOREIGN = "celery."
# The one task without a job: it shows that a worker answers.
PING = "upkeep.ping"

# A header of a message that is to be taken before those that wait. It decides where the message is put, and is not read again.
AHEAD = "ahead"

_LARGEST_CLOCK = 2**53
_NOTHING_MORE = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

Envelope = dict[str, Any]


class InvalidMessage(Exception):
    """The message is invalid. The text gives the reason in words of our own, since a message may contain anything."""


def read_json(raw: object, longest: int) -> Any:
    """Parse JSON.

    Raises:
        InvalidMessage: it is too long, too deep, or no JSON.
    """
    if not isinstance(raw, bytes | str):
        raise InvalidMessage("it is no text")
    if len(raw) > longest:
        raise InvalidMessage(f"it is longer than {longest} bytes")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise InvalidMessage("it is no JSON") from None


def rebuild(raw: object, queue: str, tasks: Container[str]) -> Envelope:
    """Return a message of `queue` for the same task and job, which contains nothing else of the one received.

    Args:
        raw: JSON text as it is in Redis, or what it was decoded to.
        queue: where it was found; the message's own routing is ignored.
        tasks: names of the registered tasks.

    Raises:
        InvalidMessage: it names no known task, or no job.
    """
    message = raw if isinstance(raw, dict) else read_json(raw, LONGEST_MESSAGE)
    headers = _part(message, "headers")
    task = headers.get("task")
    if not isinstance(task, str) or task.startswith(_FOREIGN) or task not in tasks:
        raise InvalidMessage("it names an unknown task")
    return envelope(task, _arguments(_body(message)), queue, _id_or_new(headers.get("id")))


def envelope(task: str, arguments: list[str], queue: str, message_id: str) -> Envelope:
    """Return a message as Celery writes it, with no more in it than our tasks need."""
    body = json.dumps([arguments, {}, _NOTHING_MORE]).encode()
    shown = f"({', '.join(map(repr, arguments))}{',' * (len(arguments) == 1)})"
    headers: dict[str, Any] = {
        "lang": "py",
        "task": task,
        "id": message_id,
        "root_id": message_id,
        "parent_id": None,
        "origin": "",
        "shadow": None,
        "group": None,
        "group_index": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": shown,
        "kwargsrepr": "{}",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    routing = {"exchange": queue, "routing_key": queue}
    return _enclosed(body, headers, routing) | {"properties": _properties(routing) | {"correlation_id": message_id}}


def rebuild_command(raw: object, commands: Container[str]) -> Envelope:
    """Return a command to workers, as Flower and `celery control` send it, with each part of the type that Celery expects.

    Raises:
        InvalidMessage: it is no command, or a part has another type.
    """
    message = read_json(raw, LONGEST_COMMAND)
    body = _body(message, LONGEST_COMMAND)
    method = body.get("method") if isinstance(body, dict) else None
    if not isinstance(method, str) or method not in commands:
        raise InvalidMessage("it is an unknown command")
    command = {name: _checked(name, body.get(name), fits) for name, fits in _COMMAND.items()}
    clock = _part(message, "headers").get("clock")
    headers = {"clock": clock if type(clock) is int and 0 <= clock < _LARGEST_CLOCK else 0}
    given = _part(_part(message, "properties"), "delivery_info")
    exchange, key = given.get("exchange"), given.get("routing_key")
    routing = {"exchange": exchange if isinstance(exchange, str) else "", "routing_key": key if isinstance(key, str) else ""}
    return _enclosed(json.dumps({"method": method, **command}).encode(), headers, routing)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_list_of_text(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _is_address(value: object) -> bool:
    return value is None or (isinstance(value, dict) and value.keys() == {"exchange", "routing_key"} and all(map(_is_text, value.values())))


_COMMAND: dict[str, Callable[[object], bool]] = {
    "arguments": lambda value: value is None or isinstance(value, dict),
    "destination": _is_list_of_text,
    "pattern": _is_text,
    "matcher": _is_text,
    "reply_to": _is_address,
    "ticket": _is_text,
}


def _checked(name: str, value: object, fits: Callable[[object], bool]) -> object:
    if not fits(value):
        raise InvalidMessage(f"its {name} has the wrong type")
    return value


def _part(message: object, name: str) -> dict[str, Any]:
    part = message.get(name) if isinstance(message, dict) else None
    return part if isinstance(part, dict) else {}


def _body(message: object, longest: int = LONGEST_MESSAGE) -> Any:
    if not isinstance(message, dict) or message.get("content-type") != "application/json":
        raise InvalidMessage("its body is no JSON")
    body = message.get("body")
    if not isinstance(body, str) or len(body) > longest:
        raise InvalidMessage("its body is no text, or too long")
    try:
        return read_json(base64.b64decode(body, validate=True), longest)
    except (binascii.Error, ValueError):
        raise InvalidMessage("its body is not in base64") from None


def _arguments(body: object) -> list[str]:
    """Return the arguments: a job's id alone, or nothing."""
    if not isinstance(body, list) or len(body) != 3 or not isinstance(body[0], list) or body[1] != {}:
        raise InvalidMessage("it carries more than a job's id")
    if not body[0]:
        return []
    try:
        (job,) = body[0]
        return [str(uuid.UUID(job))]
    except (ValueError, TypeError, AttributeError):
        raise InvalidMessage("it carries no job's id") from None


def _id_or_new(given: object) -> str:
    """Return the message's own id, by which Flower knows it, or a new one if it is invalid."""
    try:
        return str(uuid.UUID(given))  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError):
        return str(uuid.uuid4())


def _properties(routing: dict[str, str]) -> dict[str, Any]:
    return {
        "delivery_tag": str(uuid.uuid4()),
        "delivery_info": routing,
        "delivery_mode": 2,
        "priority": 0,
        "body_encoding": "base64",
        "reply_to": "",
    }


def _enclosed(body: bytes, headers: dict[str, Any], routing: dict[str, str]) -> Envelope:
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": _properties(routing),
    }
