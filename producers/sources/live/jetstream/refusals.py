"""Tells what a failed connection means: whether it may pass, and if not, what to do about it."""

from __future__ import annotations

import json

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidProxy, InvalidStatus, InvalidURI, ProxyError

from producers.sources.live.failures import bad_proxy, check_network
from workers.ingest.readers.errors import SourceError

TOO_OLD = "CursorTooOld"
TOO_MANY = 429
TOO_LONG = 1009  # the code with which a WebSocket is closed for the length of a message

_MAY_PASS = frozenset({408, 425, TOO_MANY})
_LONGEST_NAME = 60


def status_of(failure: Exception) -> int | None:
    """Return the HTTP status with which a connection was refused."""
    return failure.response.status_code if isinstance(failure, InvalidStatus) else None


def error_named(failure: Exception) -> str | None:
    """Return the name of the XRPC error in a refusal."""
    if not isinstance(failure, InvalidStatus):
        return None
    try:
        name = json.loads(failure.response.body or b"")["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return name if isinstance(name, str) and name.isidentifier() and name.isascii() and len(name) < _LONGEST_NAME else None


def is_too_long(failure: Exception) -> bool:
    """Whether the connection was closed since a message was longer than is read."""
    return isinstance(failure, ConnectionClosed) and failure.sent is not None and failure.sent.code == TOO_LONG


def check_failure(failure: Exception, host: str, *, lasts: bool) -> None:
    """Return where a failure may pass.

    Args:
        failure: of opening a connection, or of reading.
        host: with its port.
        lasts: a server that has never answered was tried often enough.

    Raises:
        SourceError: waiting would not help.
    """
    if isinstance(failure, InvalidStatus):
        _check_status(failure, host)
    elif isinstance(failure, InvalidMessage) and isinstance(failure.__cause__, EOFError):
        pass  # it broke off before the answer
    elif isinstance(failure, (ProxyError, InvalidProxy, ImportError)):
        raise bad_proxy(failure, host)
    elif isinstance(failure, (InvalidHandshake, InvalidURI)):
        raise SourceError(f"{host} does not answer as a WebSocket does ({type(failure).__name__}): check the address")
    status = status_of(failure)
    check_network(failure, host, lasts=lasts, said=None if status is None else f"HTTP {status}")


def _check_status(failure: InvalidStatus, host: str) -> None:
    status, name = failure.response.status_code, error_named(failure)
    shown = f"HTTP {status}" + (f" {name}" if name else "")
    if status in _MAY_PASS or status >= 500:
        return
    if status < 400:
        raise SourceError(f"{host} does not answer as a WebSocket does ({shown}): check the address")
    if status == 404:
        raise SourceError(f"{host} has no Jetstream at this path ({shown}): check the address")
    if status in (401, 403):
        raise SourceError(f"{host} refuses the connection ({shown}): take another server")
    raise SourceError(f"{host} refuses what it was asked for ({shown}): check that the address is that of its version of Jetstream")
