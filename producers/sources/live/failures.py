"""Tells which failures of a network may pass, for the sources of all networks."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpx

from workers.ingest.readers.errors import SourceError


def check_network(failure: Exception, host: str, *, lasts: bool, said: str | None = None) -> None:
    """Return where a failure may pass.

    Args:
        failure: of opening a connection, or of reading.
        host: with its port.
        lasts: a server that has never answered was tried often enough.
        said: what to say of the failure; None: what the system calls it.

    Raises:
        SourceError: waiting would not help.
    """
    for cause in _causes(failure):
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise SourceError(f"the certificate of {host} is not trusted ({cause.verify_message}): check the address")
    if isinstance(failure, (httpx.ProxyError, httpx.UnsupportedProtocol)):
        raise bad_proxy(failure, host)
    if lasts:
        raise SourceError(f"{host} can't be reached ({said or _said(failure)}): check the address and the network")


def bad_proxy(failure: Exception, host: str) -> SourceError:
    """Return the error of a proxy that the environment names; its address may hold a password and is not told."""
    return SourceError(f"the proxy of this environment can't be used for {host} ({type(failure).__name__}): check HTTPS_PROXY")


def _causes(failure: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = failure
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _said(failure: Exception) -> str:
    if isinstance(failure, (TimeoutError, httpx.TimeoutException)):
        return "no answer in time"
    system = next((cause for cause in _causes(failure) if isinstance(cause, OSError) and cause.strerror), None)
    return type(failure).__name__ if system is None else str(system.strerror)
