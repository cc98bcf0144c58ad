"""List the keys that Celery keeps in Redis, and remove one that holds a value of another type.

A value of another type where a queue should be is answered by WRONGTYPE, to whoever asks for any of the queues: no worker would take a
message any more. What Redis should have held is in the ledger, and published again.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from kombu.transport.redis import Channel

from schemas.payloads import Queue

if TYPE_CHECKING:
    from redis import Redis

# For each kind of key a command that reads it: one that every user of Redis may give (`TYPE` is not among them).
_READ = {"list": ("LLEN",), "hash": ("HLEN",), "sorted set": ("ZRANGE", 0, 0), "set": ("SMEMBERS",), "string": ("GET",)}
_EXCHANGES = (*Queue, "celery.pidbox", "reply.celery.pidbox", "celeryev")


def _keys() -> Iterator[tuple[str, str]]:
    for queue in Queue:
        yield queue.value, "list"
        yield from ((f"{queue.value}{Channel.sep}{priority}", "list") for priority in Channel.priority_steps if priority)
    yield from ((Channel.unacked_key, "hash"), (Channel.unacked_index_key, "sorted set"), (Channel.unacked_mutex_key, "string"))
    yield Channel.keyprefix_binding_deadlines, "sorted set"
    for exchange in _EXCHANGES:
        yield Channel.keyprefix_queue % exchange, "set"
        yield Channel.keyprefix_binding_permanent % exchange, "set"


def misplaced(client: Redis, among: Container[str] | None = None) -> list[str]:
    """Return the keys, or those of them in `among`, that hold a value of another type."""
    keys = [(key, kind) for key, kind in _keys() if among is None or key in among]
    with client.pipeline(transaction=False) as pipe:
        for key, kind in keys:
            command, *rest = _READ[kind]
            pipe.execute_command(command, key, *rest)  # type: ignore[no-untyped-call]
        answers = pipe.execute(raise_on_error=False)
    return [key for (key, _), answer in zip(keys, answers, strict=True) if "WRONGTYPE" in str(answer) and isinstance(answer, Exception)]


def remove_misplaced(client: Redis) -> list[str]:
    """Remove the misplaced keys, as far as our user of Redis may; return which."""
    return [key for key in misplaced(client) if _removed(client, key)]


def _removed(client: Redis, key: str) -> bool:
    from redis.exceptions import ResponseError

    try:
        return bool(client.delete(key))
    except ResponseError:  # a producer may not: the next worker does it
        return False
