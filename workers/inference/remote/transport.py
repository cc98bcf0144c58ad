"""Sends HTTP requests to a chat server, bounded in time, in bytes and in where redirects may lead.

Requests run on an event loop of their own, so that a deadline ends them wherever they are: in the headers as well as in the body, and
however steadily they drip. Content encodings are undone here, since a few kilobytes may become gigabytes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

LONGEST_BODY = 4 * 1024 * 1024
"""Bytes of an answer, decoded: no completion is that long, and a broken server must not fill the memory."""

LONGEST_STREAM = 32 * 1024 * 1024
"""Bytes of an answer that comes in pieces, each of which repeats who says it."""

_MOST_REDIRECTS = 5
_MOST_ENCODINGS = 3
_GZIP = b"\x1f\x8b"
_MOST_MEMBERS = 16  # of a gzip file
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEPT_HEADERS = ("content-type", "content-encoding", "location", "retry-after")


class Hung(Exception):
    """No whole answer came in time."""


class Unreachable(Exception):
    """No connection came about, or it broke off after the request was `sent`; the message is the error's kind."""

    def __init__(self, kind: str, *, sent: bool = False) -> None:
        super().__init__(kind)
        self.sent = sent


class Unreadable(Exception):
    """An answer came, and its bytes can't be taken; the message completes "the answer …"."""


class LedAway(Exception):
    """The server sends on to another one, whose name is the message, or it is `endless`ly itself."""

    def __init__(self, where: str, *, endless: bool = False) -> None:
        super().__init__(where)
        self.endless = endless


@dataclass(frozen=True)
class Reply:
    """A response: its status, the headers that matter in lower case, and the decoded body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of server-sent events."""
        return is_stream(self.headers)


class Transport:
    """Requests to one server.

    Args:
        base_url: with its version, such as `http://localhost:8000/v1`.
        api_key: empty for servers that ask for none.
        timeout: seconds for one request, from its first byte to the answer's last.
        socket: a Unix socket on which the server listens, in place of the URL's host and port.
    """

    def __init__(self, base_url: str, api_key: str, timeout: float, socket: Path | None = None) -> None:
        self._timeout = timeout
        self.base_url = httpx.URL(base_url.rstrip("/").removesuffix("/chat/completions").rstrip("/"))
        headers = {"Accept-Encoding": "gzip, deflate", "Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._clients = _Clients(headers, timeout, socket)
        self._moved: dict[httpx.URL, httpx.URL] = {}
        self._loop = asyncio.new_event_loop()
        self._running = threading.Thread(target=self._loop.run_forever, name="chat-requests", daemon=True)
        self._running.start()

    @property
    def authorization(self) -> str | None:
        """Return the header that carries the key, if any."""
        return self._clients.headers.get("Authorization")

    def send(self, path: str, body: Mapping[str, object] | None = None) -> Reply:
        """Post `body` to a path below the base, or get the path without one.

        Raises:
            Hung: no whole answer came in time.
            Unreachable: no connection came about, or it broke off.
            Unreadable: the answer is too long, or encoded as nobody asked.
            LedAway: the server sends on to another one.
        """
        if self._loop.is_closed() or not self._running.is_alive():
            raise Unreachable("Closed")
        asking = asyncio.run_coroutine_threadsafe(self._in_time(path, body), self._loop)
        try:
            return asking.result()
        except concurrent.futures.CancelledError:
            raise Unreachable("Closed") from None

    def close(self) -> None:
        """End what is under way and close the connections."""
        if self._loop.is_closed() or not self._running.is_alive():
            return
        closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        try:
            closing.result(timeout=5)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._running.join(timeout=5)
        if not self._running.is_alive():
            self._loop.close()

    async def _close(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._clients.close()

    async def _in_time(self, path: str, body: Mapping[str, object] | None) -> Reply:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._followed(self.base_url.copy_with(path=f"{self.base_url.path.rstrip('/')}/{path}"), body)
        except (TimeoutError, httpx.TimeoutException):
            raise Hung from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            sent = isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError))
            raise Unreachable(type(error).__name__, sent=sent) from None

    async def _followed(self, asked: httpx.URL, body: Mapping[str, object] | None) -> Reply:
        """Return the reply where redirects on the same host end; the next request goes there at once."""
        url = self._moved.get(asked, asked)
        for _ in range(_MOST_REDIRECTS):
            reply = await self._once(url, body)
            if reply.status not in _REDIRECTS or "location" not in reply.headers:
                if url != asked and reply.status < 400:
                    self._moved[asked] = url
                return reply
            url = onward(url, reply.headers["location"])
        raise LedAway("itself", endless=True)

    async def _once(self, url: httpx.URL, body: Mapping[str, object] | None) -> Reply:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        async with self._clients.one() as client, client.stream("GET" if body is None else "POST", url, content=content) as response:
            headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            most = LONGEST_STREAM if is_stream(headers) else LONGEST_BODY
            raw = bytearray()
            async for part in response.aiter_raw():
                raw += part
                if len(raw) > most:
                    raise Unreadable(f"is longer than {most // 2**20} MiB")
        return Reply(response.status_code, headers, decoded(bytes(raw), headers.get("content-encoding", ""), most))


class _Clients:
    """Clients with one connection each, which are handed out to one request at a time.

    A pool of httpx looks at all of its connections at each request, several times each: with 64 of them that took 10 ms of a core, so that
    more requests at once made none the quicker. All methods are for the event loop's thread.
    """

    def __init__(self, headers: Mapping[str, str], timeout: float, socket: Path | None) -> None:
        self.headers = headers
        self._socket = socket
        self._timeout = httpx.Timeout(timeout)
        self._trusted = httpx.create_ssl_context()  # read once: it takes longer than a request
        self._idle: list[httpx.AsyncClient] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        """Yield the client that was used last of those that are free: its connection is the likeliest to be open still."""
        client = self._idle.pop() if self._idle else self._new()
        try:
            yield client
        finally:
            self._idle.append(client)

    async def close(self) -> None:
        """Close the connections of all that are free."""
        while self._idle:
            await self._idle.pop().aclose()

    def _new(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=1)
        if self._socket is not None:  # on this machine: no proxy, and nothing to trust
            transport = httpx.AsyncHTTPTransport(uds=str(self._socket), limits=limits, verify=self._trusted)
            return httpx.AsyncClient(headers=self.headers, timeout=self._timeout, transport=transport)
        return httpx.AsyncClient(headers=self.headers, timeout=self._timeout, limits=limits, verify=self._trusted)


def is_stream(headers: Mapping[str, str]) -> bool:
    """Whether a response with these headers is a stream of server-sent events."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


def onward(url: httpx.URL, location: str) -> httpx.URL:
    """Return where a redirect leads, if that is the same server: its host and port, or its own HTTPS port.

    Raises:
        LedAway: it is another server, which gets neither the key nor a tweet.
    """
    try:
        target = url.join(location)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise LedAway("an address that is none") from None
    same = (target.scheme, target.port) == (url.scheme, url.port)
    safer = (url.scheme, target.scheme) == ("http", "https") and target.port in (url.port, None)
    if target.host != url.host or target.userinfo or not (same or safer):
        raise LedAway(f"{target.scheme[:10]}://{target.host[:100]}" + (f":{target.port}" if target.port else ""))
    return target


def decoded(content: bytes, encodings: str, most: int) -> bytes:
    """Decode a body from its content encodings, the last of which was applied last.

    Raises:
        Unreadable: it is longer than `most` after one of them, broken, or encoded in a way that was not asked for.
    """
    named = [each.strip().lower() for each in encodings.split(",")]
    applied = [each for each in named if each not in ("", "identity")]
    if not applied and content.startswith(_GZIP):
        applied = ["gzip"]  # some proxies take the header away
    if len(applied) > _MOST_ENCODINGS:
        raise Unreadable(f"is encoded {len(applied)} times over")
    for each in reversed(applied):
        if each in ("gzip", "x-gzip"):
            content = _inflated(content, (31,), most)
        elif each == "deflate":
            content = _inflated(content, (15, -15), most)  # many leave the zlib header out
        else:
            raise Unreadable("is encoded in a way that was not asked for")
    return content


def _inflated(content: bytes, ways: tuple[int, ...], most: int) -> bytes:
    for way in ways:
        try:
            return _members(content, way, most)
        except zlib.error:
            continue
    raise Unreadable("is not encoded as it says")


def _members(content: bytes, way: int, most: int) -> bytes:
    whole = bytearray()
    for _ in range(_MOST_MEMBERS):
        inflating = zlib.decompressobj(way)
        whole += inflating.decompress(content, most + 1 - len(whole))
        if len(whole) > most:
            raise Unreadable(f"is longer than {most // 2**20} MiB once it is decoded")
        if not inflating.eof:
            raise Unreadable("breaks off")
        content = inflating.unused_data
        if way != 31 or not content.startswith(_GZIP):
            return bytes(whole)
    raise Unreadable("is encoded in too many pieces")
