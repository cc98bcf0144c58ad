"""Connect to the broker with a plain Redis client, beside the one that Celery has of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.addresses.redis import SOCKET_SCHEME, parse_broker
from workers.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

_PATIENCE = 3.0


def redis_client(url: str, tls: dict[str, Any] | None = None) -> Redis:
    """Return a client for a Celery broker URL. It waits three seconds for an answer.

    Args:
        url: `redis://`, `rediss://`, or Celery's own way of writing a Unix socket, `redis+socket://`.
        tls: what `Settings.broker_tls` says.
    """
    from redis import Redis

    address = parse_broker(url)
    if address.scheme != SOCKET_SCHEME:
        return Redis.from_url(address.url(), socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE, **(tls or {}))
    return Redis(
        unix_socket_path=address.path,
        db=int(address.options["virtual_host"]),
        username=address.user or None,
        password=address.password,
        socket_timeout=_PATIENCE,
    )


def broker_client(settings: Settings) -> Redis:
    """Return a client for the broker of these settings, with its password and its TLS."""
    return redis_client(settings.broker(), settings.broker_tls())
