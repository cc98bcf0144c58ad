"""What a worker does with a message that nobody of ours sent: it is dropped with a warning, and the worker lives.

Whoever can write to Redis can put anything into a queue, or something else in a queue's place. Celery and kombu would stop or end the
worker over some of it, and then the next one that takes it; over the rest they would write it into the log. So each message is written
anew before they read it (`workers.jobs.messages`), whether it comes from a queue, from a command to all workers, or from the messages that
a worker left unacknowledged. No job is lost with a dropped message: the ledger publishes it again.
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
from workers.broker_keys import mend
from workers.jobs import messages
from workers.jobs.messages import Unusable

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What reading a message of the wrong shape raises, and no failing connection does.
_MISSHAPEN = (Unusable, TypeError, ValueError, LookupError, AttributeError, RecursionError, DataError)

_QUEUES = frozenset(queue.value for queue in Queue)
_COMMANDS = ".pidbox"
_REPLIES = "reply."
_TOLD_ALWAYS, _TOLD_EVERY = 100, 1000


class Dropped:
    """Counts what was dropped. A flood is told of by its first hundred messages, and then by every thousandth."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, reason: object) -> None:
        """Count one more. Never the message: it may quote anything."""
        self.count += 1
        if self.count > _TOLD_ALWAYS and self.count % _TOLD_EVERY:
            return
        said = str(reason) if isinstance(reason, Unusable | str) else type(reason).__name__
        logger.warning("dropped a message that is none of ours (%s); %d since the start", said, self.count)


dropped = Dropped()


def _is_wrong_type(error: ResponseError) -> bool:
    return "WRONGTYPE" in str(error)


def _has_mended(client: Redis) -> bool:
    """Remove what lies in the place of a key of ours; return whether there was any."""
    removed = mend(client)
    for key in removed:
        dropped.tell(f"{key} held something else than it is for")
    return bool(removed)


def _with_mended_keys(client: Redis, step: Callable[[], T]) -> T:
    """Do `step`; if a key of ours holds something of another type, remove that and try once more."""
    try:
        return step()
    except ResponseError as error:
        if not _is_wrong_type(error) or not _has_mended(client):
            raise
        return step()


class CarefulClient(Redis):
    """Reads from queues what may be believed of it."""

    def parse_response(self, connection: Any, command_name: str | bytes, **options: Any) -> Any:
        """Redis's answer; to BRPOP the rebuilt message, or None as though the queues were empty."""
        if command_name != "BRPOP":
            return super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        try:
            popped = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            # Asked through another connection: this one waits for messages.
            if not _is_wrong_type(error) or not _has_mended(Redis(connection_pool=self.connection_pool)):
                raise
            return None
        return popped and self._believed(*popped)

    def _believed(self, key: bytes, raw: bytes) -> tuple[bytes, bytes] | None:
        try:
            queue = key.decode().partition(CarefulChannel.sep)[0]
            if queue in _QUEUES:
                raw = json.dumps(messages.rebuild(raw, queue, current_app.tasks)).encode()
            elif queue.endswith(_COMMANDS) and not _is_reply(queue):
                raw = json.dumps(messages.rebuild_command(raw, Panel.data)).encode()
        except _MISSHAPEN as error:
            dropped.tell(error)
            return None
        return key, raw


def _is_reply(queue: str) -> bool:
    return f".{_REPLIES}" in queue or queue.startswith(_REPLIES)


class CarefulQoS(kombu_redis.QoS):  # type: ignore[misc]
    """Keeps and restores unacknowledged messages, whatever lies among them."""

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Keep one."""
        self._carefully(lambda: super(CarefulQoS, self).append(message, delivery_tag))

    def ack(self, delivery_tag: Any) -> None:
        """Forget one that was taken."""
        self._carefully(lambda: super(CarefulQoS, self).ack(delivery_tag))

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Forget one that is not wanted, or put it back."""
        self._carefully(lambda: super(CarefulQoS, self).reject(delivery_tag, requeue))

    def restore_visible(self, *arguments: Any, **options: Any) -> None:
        """Put back what dead workers took."""
        self._carefully(lambda: super(CarefulQoS, self).restore_visible(*arguments, **options))

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put one message back into its queue, rebuilt; one that is none of ours is forgotten."""

        def restore(pipe: Any) -> None:
            kept = pipe.hget(self.unacked_key, tag)
            pipe.multi()
            self._remove_from_indices(tag, pipe)
            if kept is not None:
                _put_back(pipe, kept, leftmost)

        with self.channel.conn_or_acquire(client) as connected:
            connected.transaction(restore, self.unacked_key)

    def _carefully(self, step: Callable[[], None]) -> None:
        with self.channel.conn_or_acquire() as client:
            _with_mended_keys(client, step)


def _put_back(pipe: Any, kept: bytes, leftmost: bool) -> None:
    try:
        # kombu keeps [message, exchange, routing key]; of the key only a queue of ours is believed.
        message, _, queue = messages.read_json(kept, 4 * messages.LONGEST)
        if queue not in _QUEUES:
            raise Unusable("it was for no queue of ours")
        believed = json.dumps(messages.rebuild(message, queue, current_app.tasks))
    except _MISSHAPEN as error:
        dropped.tell(error)
        return
    (pipe.lpush if leftmost else pipe.rpush)(queue, believed)


class CarefulChannel(kombu_redis.Channel):  # type: ignore[misc]
    """Survives what is no message at all: neither JSON, nor an envelope of Celery's, nor in a queue."""

    QoS = CarefulQoS

    def _get_client(self) -> type[Redis]:
        super()._get_client()  # which looks at redis-py's version
        return CarefulClient

    def _queue_bind(self, *arguments: Any) -> None:
        with self.conn_or_acquire() as client:
            _with_mended_keys(client, lambda: super(CarefulChannel, self)._queue_bind(*arguments))

    def _put(self, *arguments: Any, **options: Any) -> None:
        with self.conn_or_acquire() as client:
            _with_mended_keys(client, lambda: super(CarefulChannel, self)._put(*arguments, **options))

    def _size(self, queue: str) -> int:
        with self.conn_or_acquire() as client:
            return int(_with_mended_keys(client, lambda: super(CarefulChannel, self)._size(queue)))

    def get_table(self, exchange: str) -> list[tuple[str, ...]]:
        """Which queues an exchange leads to: one's own, whatever Redis says of it; of others what can be read."""
        if exchange in _QUEUES:
            return [(exchange, "", exchange)]
        with self.conn_or_acquire() as client:
            rows = [row.decode(errors="replace").split(self.sep) for row in client.smembers(self.keyprefix_queue % exchange)]
        return [tuple(row) for row in rows if len(row) == 3]

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except _MISSHAPEN as error:
            dropped.tell(error)
            return True  # something was read

    def _handle_message(self, client: Any, response: Any) -> Any:
        published = super()._handle_message(client, response)
        if not isinstance(published["data"], int):  # else it counts subscriptions
            published["data"] = self._believed(published)
        return published

    def _believed(self, published: dict[str, Any]) -> str | None:
        try:
            channel = bytes_to_str(published["channel"])
            if channel.endswith(_COMMANDS):
                return json.dumps(messages.rebuild_command(published["data"], Panel.data))
            return json.dumps(messages.read_json(published["data"], messages.LONGEST_COMMAND))
        except _MISSHAPEN as error:
            dropped.tell(error)
            return None

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)
        except _MISSHAPEN as error:
            dropped.tell(error)
            return True


class CarefulTransport(kombu_redis.Transport):  # type: ignore[misc]
    """Redis with a careful channel."""

    Channel = CarefulChannel


class CarefulConsumer(Consumer):  # type: ignore[misc]
    """Survives messages that are no task of ours, and doesn't write them into the log as Celery does."""

    def create_task_handler(self, *arguments: Any, **options: Any) -> Any:
        """Celery's way of taking a message, but one with a wrong type somewhere inside is dropped."""
        take = super().create_task_handler(*arguments, **options)

        def take_carefully(message: Any) -> Any:
            try:
                return take(message)
            except _MISSHAPEN as error:
                return self._drop(message, error)

        return take_carefully

    def _drop(self, message: Any, reason: object) -> None:
        dropped.tell(reason)
        message.reject_log_error(logger, self.connection_errors)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """It names no task."""
        del body
        self._drop(message, "it names no task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """It names a task that there is not."""
        del body, exc
        self._drop(message, "it names no task of ours")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Its content is not allowed or does not fit."""
        del body
        self._drop(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its body can't be read."""
        self._drop(message, exc)


class QuietCommands(logging.Filter):
    """Leaves out of the log what a command that failed said: it may be anybody's."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the line, with the error's class alone."""
        if record.levelno >= logging.ERROR:
            error = (
                record.exc_info[1] if record.exc_info else next((part for part in record.args or () if isinstance(part, Exception)), None)
            )
            record.msg, record.args = "a command to the workers failed (%s)", (type(error).__name__,)
            record.exc_info = record.exc_text = None
        return True


for _name in ("kombu.pidbox", "celery.worker.pidbox"):
    logging.getLogger(_name).addFilter(QuietCommands())
