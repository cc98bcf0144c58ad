"""A plain Redis client for the broker, beside the one that Celery has of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from workers.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

_PATIENCE = 3.0


def connect(url: str, tls: dict[str, Any] | None = None) -> Redis:
    """A client for a Celery broker URL. It waits three seconds for an answer.

    Args:
        url: `redis://`, `rediss://`, or Celery's own way of writing a Unix socket, `redis+socket://`.
        tls: what `Settings.broker_tls` says.
    """
    from redis import Redis

    if not url.startswith("redis+socket://"):
        return Redis.from_url(url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE, **(tls or {}))
    parts = urlsplit(url)
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    number = int(parse_qs(parts.query).get("virtual_host", ["0"])[0])
    return Redis(unix_socket_path=unquote(parts.path), db=number, username=user, password=password, socket_timeout=_PATIENCE)


def connect_as_told(settings: Settings) -> Redis:
    """A client for the broker of these settings, with its password and its TLS."""
    return connect(settings.broker(), settings.broker_tls())
