"""What a worker does with a message that nobody of ours sent: it is dropped with a warning, and the worker lives.

Whoever can write to Redis can put anything into a queue. Celery and kombu would end the worker over some of it, and then the next one
that takes it; over the rest they would write it into the log. No job is lost with a dropped message: the ledger publishes it again.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.consumer import Consumer
from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import DataError

logger = logging.getLogger(__name__)

# What reading a message of the wrong shape raises, and no failing connection does.
_MISSHAPEN = (TypeError, ValueError, LookupError, AttributeError, RecursionError, DataError)


def _dropped(reason: object) -> None:
    """Never the message: it may quote anything."""
    logger.warning("dropped a message that is none of ours (%s)", type(reason).__name__ if isinstance(reason, Exception) else reason)


class CarefulChannel(kombu_redis.Channel):  # type: ignore[misc]
    """Survives what is no message at all: neither JSON, nor an envelope of Celery's."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except _MISSHAPEN as error:
            _dropped(error)
            return True  # something was read

    def _handle_message(self, client: Any, response: Any) -> Any:
        published = super()._handle_message(client, response)
        if not isinstance(published["data"], int):  # else it counts subscriptions
            try:
                loads(bytes_to_str(published["data"]))
            except _MISSHAPEN as error:
                _dropped(error)
                published["data"] = None
        return published

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)
        except _MISSHAPEN as error:
            _dropped(error)
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
        _dropped(reason)
        message.reject_log_error(logger, self.connection_errors)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """It names no task."""
        del body
        self._drop(message, "names no task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """It names a task that there is not."""
        del body, exc
        self._drop(message, "names no task of ours")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Its content is not allowed or does not fit."""
        del body
        self._drop(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its body can't be read."""
        self._drop(message, exc)
