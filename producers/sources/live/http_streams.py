"""Asks an API over HTTP, and reads what it goes on sending: bounded in time, in bytes, and in where the token goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import SplitResult, urlsplit

import httpx
from pydantic import SecretStr

from producers.sources.live.patience import Patience
from schemas.addresses.loopback import is_loopback
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.json_decoding import DECODER

LONGEST_ANSWER = 16 * 2**20
"""Bytes of an answer that is read whole."""

_AGENT = "tweetmill"
_EVENT_ENDS = (b"\n\n", b"\n\r\n")


class TooLongError(Exception):
    """What came is longer than is read."""


class StatusError(Exception):
    """The API refused a request."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered later."""
        return self.status in (408, 425, 429) or self.status >= 500


def split(address: str) -> SplitResult:
    """Return the parts of an address.

    Raises:
        SourceError: it has none, or holds a login.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise SourceError("the address has a host or port that is none: check it") from None
    if parts.hostname is None or "@" in parts.netloc or parts.fragment:
        raise SourceError(f"write the address without a login, as {parts.scheme or 'https'}://HOST/PATH")
    return parts


def check_encrypted(place: SplitResult, token: SecretStr | None) -> None:
    """Return where a token may go there.

    Raises:
        SourceError: it would go unencrypted through a network.
    """
    if token is not None and place.scheme != "https" and not is_loopback(place.hostname or ""):
        raise SourceError(f"the token would go to {place.netloc} unencrypted: write https:// in its address")


def client(base: SplitResult, token: SecretStr | None, patience: Patience) -> httpx.AsyncClient:
    """Return a client of an API. No redirect is followed, since the token would go along."""
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    timeout = httpx.Timeout(patience.connect, read=patience.stall)
    return httpx.AsyncClient(
        base_url=f"{base.scheme}://{base.netloc}", headers=headers, timeout=timeout, limits=httpx.Limits(max_connections=4)
    )


async def document(response: httpx.Response) -> object:
    """Return the JSON of an answer that is still to be read.

    Raises:
        TooLongError: it has more than `LONGEST_ANSWER` bytes.
        ValueError: it is not JSON.
    """
    whole = bytearray()
    async for part in response.aiter_bytes():
        whole += part
        if len(whole) > LONGEST_ANSWER:
            raise TooLongError
    try:
        return DECODER.decode(whole.decode())
    except (RecursionError, RowError):
        raise ValueError("the answer is not JSON") from None


async def lines(response: httpx.Response, longest: int) -> AsyncIterator[bytes]:
    """Yield the whole lines of a body as it comes, without their ends: blank ones too. What breaks off in a line is none.

    Raises:
        TooLongError: a line has more than `longest` bytes.
    """
    waiting = b""
    async for part in response.aiter_bytes():
        *whole, waiting = (waiting + part).split(b"\n")
        for line in whole:
            if len(line) > longest:
                raise TooLongError
            yield line.rstrip(b"\r")
        if len(waiting) > longest:
            raise TooLongError


class BoundedEvents(httpx.AsyncByteStream):
    """The body of a stream of server-sent events, which ends with an error when an event grows too long.

    Args:
        response: that is still to be read.
        longest: bytes of an event, and of the comments before it; one that comes in a single piece may have more.
    """

    def __init__(self, response: httpx.Response, longest: int) -> None:
        self._response, self._longest = response, longest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body.

        Raises:
            TooLongError: an event is longer.
        """
        held = 0
        async for part in self._response.aiter_bytes():
            end = max(part.rfind(mark) for mark in _EVENT_ENDS)
            held = len(part) - end if end >= 0 else held + len(part)
            if held > self._longest:
                raise TooLongError
            yield part
