"""Validates each message before Celery reads it, and drops invalid ones with a warning, so that none can stop a worker.

Whoever can write to Redis can put anything into a queue, or another type of value in a queue's place. Some of it would stop or crash a
worker of Celery and kombu, and then the next one that takes it; the rest they would write into the log. So each message is rebuilt before
they read it (`workers.jobs.messages`), whether it comes from a queue, from a command to all workers, or from the messages that a worker
left unacknowledged. No job is lost with a dropped message: maintenance publishes it again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from celery import current_app
from celery.worker.consumer import Consumer
from celery.worker.control import Panel
from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from redis import Redis
from redis.exceptions import DataError, ResponseError

from schemas.payloads import Queue
from workers.connections.broker_keys import misplaced, remove_misplaced
from workers.jobs import messages
from workers.jobs.messages import InvalidMessage

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What reading an invalid message raises, and a failing connection does not.
_INVALID = (InvalidMessage, TypeError, ValueError, LookupError, AttributeError, RecursionError, DataError)

_QUEUES = frozenset(queue.value for queue in Queue)
_COMMANDS = ".pidbox"
_REPLIES = "reply."
_LOGGED_FIRST, _LOGGED_EVERY = 100, 1000


class DropCounter:
    """Counts dropped messages, and logs the first hundred and then every thousandth."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, reason: object) -> None:
        """Count a dropped message and log the reason. Never the message: it may contain anything."""
        self.count += 1
        if self.count > _LOGGED_FIRST and self.count % _LOGGED_EVERY:
            return
        shown = str(reason) if isinstance(reason, InvalidMessage | str) else type(reason).__name__
        logger.warning("dropped an invalid message (%s); %d since the start", shown, self.count)


drop_counter = DropCounter()


def _is_wrong_type(error: ResponseError) -> bool:
    return "WRONGTYPE" in str(error)


def _is_repaired(client: Redis) -> bool:
    """Delete our keys that hold a value of the wrong type; return whether none is left: another process may have been first."""
    for key in remove_misplaced(client):
        drop_counter.add(f"{key} held a value of the wrong type")
    return not misplaced(client)


def _with_repaired_keys(client: Redis, step: Callable[[], T]) -> T:
    """Call `step`; if one of our keys holds a value of the wrong type, delete it and try once more."""
    try:
        return step()
    except ResponseError as error:
        if not _is_wrong_type(error) or not _is_repaired(client):
            raise
        return step()


class GuardedClient(Redis):
    """A Redis client that rebuilds the messages that it takes from queues."""

    def parse_response(self, connection: Any, command_name: str | bytes, **options: Any) -> Any:
        """Return Redis's answer; to BRPOP the rebuilt message, or None as if the queues were empty."""
        if command_name != "BRPOP":
            return super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        try:
            popped = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            # Through another connection: this one waits for messages.
            if not _is_wrong_type(error) or not _is_repaired(Redis(connection_pool=self.connection_pool)):
                raise
            return None
        return popped and self._rebuilt(*popped)

    def _rebuilt(self, key: bytes, raw: bytes) -> tuple[bytes, bytes] | None:
        try:
            queue = key.decode().partition(GuardedChannel.sep)[0]
            if queue in _QUEUES:
                raw = json.dumps(messages.rebuild(raw, queue, current_app.tasks)).encode()
            elif queue.endswith(_COMMANDS) and not _is_reply(queue):
                raw = json.dumps(messages.rebuild_command(raw, Panel.data)).encode()
        except _INVALID as error:
            drop_counter.add(error)
            return None
        return key, raw


def _is_reply(queue: str) -> bool:
    return f".{_REPLIES}" in queue or queue.startswith(_REPLIES)


class GuardedQoS(kombu_redis.QoS):  # type: ignore[misc]
    """Keeps and restores unacknowledged messages, and drops invalid ones among them."""

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Keep a message until it is acknowledged."""
        self._guarded(lambda: super(GuardedQoS, self).append(message, delivery_tag))

    def ack(self, delivery_tag: Any) -> None:
        """Delete an acknowledged message."""
        self._guarded(lambda: super(GuardedQoS, self).ack(delivery_tag))

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Delete a rejected message, or requeue it."""
        self._guarded(lambda: super(GuardedQoS, self).reject(delivery_tag, requeue))

    def restore_visible(self, *arguments: Any, **options: Any) -> None:
        """Requeue the messages that dead workers took."""
        self._guarded(lambda: super(GuardedQoS, self).restore_visible(*arguments, **options))

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Requeue one message, rebuilt; an invalid one is dropped."""

        def restore(pipe: Any) -> None:
            kept = pipe.hget(self.unacked_key, tag)
            pipe.multi()
            self._remove_from_indices(tag, pipe)
            if kept is not None:
                _requeue(pipe, kept, leftmost)

        with self.channel.conn_or_acquire(client) as connected:
            connected.transaction(restore, self.unacked_key)

    def _guarded(self, step: Callable[[], None]) -> None:
        with self.channel.conn_or_acquire() as client:
            _with_repaired_keys(client, step)


def _requeue(pipe: Any, kept: bytes, leftmost: bool) -> None:
    try:
        # kombu keeps [message, exchange, routing key]; the key must be one of our queues.
        message, _, queue = messages.read_json(kept, 4 * messages.LONGEST_MESSAGE)
        if queue not in _QUEUES:
            raise InvalidMessage("its queue is unknown")
        rebuilt = json.dumps(messages.rebuild(message, queue, current_app.tasks))
    except _INVALID as error:
        drop_counter.add(error)
        return
    (pipe.lpush if leftmost else pipe.rpush)(queue, rebuilt)


class GuardedChannel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel that drops what is no message: no JSON, no envelope of Celery's, or not in a queue."""

    QoS = GuardedQoS

    def _get_client(self) -> type[Redis]:
        super()._get_client()  # which looks at redis-py's version
        return GuardedClient

    def _queue_bind(self, *arguments: Any) -> None:
        with self.conn_or_acquire() as client:
            _with_repaired_keys(client, lambda: super(GuardedChannel, self)._queue_bind(*arguments))

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        """Put a message behind those that wait; or ahead of them, at the end from which they are taken."""
        with self.conn_or_acquire() as client:
            if message.get("headers", {}).get(messages.AHEAD):
                _with_repaired_keys(client, lambda: client.rpush(queue, json.dumps(message)))
            else:
                _with_repaired_keys(client, lambda: super(GuardedChannel, self)._put(queue, message, **options))

    def _size(self, queue: str) -> int:
        with self.conn_or_acquire() as client:
            return int(_with_repaired_keys(client, lambda: super(GuardedChannel, self)._size(queue)))

    def get_table(self, exchange: str) -> list[tuple[str, ...]]:
        """Return the queues of an exchange: our queues lead to themselves whatever Redis says; of others what can be read."""
        if exchange in _QUEUES:
            return [(exchange, "", exchange)]
        with self.conn_or_acquire() as client:
            rows = [row.decode(errors="replace").split(self.sep) for row in client.smembers(self.keyprefix_queue % exchange)]
        return [tuple(row) for row in rows if len(row) == 3]

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except _INVALID as error:
            drop_counter.add(error)
            return True  # something was read

    def _handle_message(self, client: Any, response: Any) -> Any:
        published = super()._handle_message(client, response)
        if not isinstance(published["data"], int):  # else it counts subscriptions
            published["data"] = self._rebuilt(published)
        return published

    def _rebuilt(self, published: dict[str, Any]) -> str | None:
        try:
            channel = bytes_to_str(published["channel"])
            if channel.endswith(_COMMANDS):
                return json.dumps(messages.rebuild_command(published["data"], Panel.data))
            return json.dumps(messages.read_json(published["data"], messages.LONGEST_COMMAND))
        except _INVALID as error:
            drop_counter.add(error)
            return None

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)
        except _INVALID as error:
            drop_counter.add(error)
            return True


class GuardedTransport(kombu_redis.Transport):  # type: ignore[misc]
    """The Redis transport with a guarded channel."""

    Channel = GuardedChannel


class GuardedConsumer(Consumer):  # type: ignore[misc]
    """A consumer that drops messages that are no task, without writing them into the log as Celery does."""

    def create_task_handler(self, *arguments: Any, **options: Any) -> Any:
        """Return Celery's handler of messages, which drops one with a wrong type somewhere inside."""
        take = super().create_task_handler(*arguments, **options)

        def take_guarded(message: Any) -> Any:
            try:
                return take(message)
            except _INVALID as error:
                return self._drop(message, error)

        return take_guarded

    def _drop(self, message: Any, reason: object) -> None:
        drop_counter.add(reason)
        message.reject_log_error(logger, self.connection_errors)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Drop a message that names no task."""
        del body
        self._drop(message, "it names no task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Drop a message that names an unknown task."""
        del body, exc
        self._drop(message, "it names an unknown task")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Drop a message whose content is not allowed or does not fit."""
        del body
        self._drop(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Drop a message whose body can't be read."""
        self._drop(message, exc)


class QuietCommands(logging.Filter):
    """Removes the text of a failed command from the log: anybody may have sent it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record with the error's class alone."""
        if record.levelno >= logging.ERROR:
            error = (
                record.exc_info[1] if record.exc_info else next((part for part in record.args or () if isinstance(part, Exception)), None)
            )
            record.msg, record.args = "a command to the workers failed (%s)", (type(error).__name__,)
            record.exc_info = record.exc_text = None
        return True


for _name in ("kombu.pidbox", "celery.worker.pidbox"):
    logging.getLogger(_name).addFilter(QuietCommands())
