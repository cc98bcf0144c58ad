"""Sends HTTP requests to a chat server, bounded in time, in bytes and in where redirects may lead.

Requests run on an event loop of their own, so that a deadline ends them wherever they are: in the headers as well as in the body, and
however steadily they drip. Content encodings are undone here, since a few kilobytes may become gigabytes.

aiohttp sends them: httpx takes five times as much of a core for each. httpx reads addresses, and knows which certificates are trusted.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import json
import threading
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import aiohttp
import httpx
import yarl

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
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, ValueError)
"""Errors before the request reached the server, which so was not at work."""


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
        self._headers = {"Accept-Encoding": "gzip, deflate", "Content-Type": "application/json"}
        if self.base_url.userinfo:  # before the key: whoever writes a name and a password into the address means them
            self._headers["Authorization"] = _basic(self.base_url)
        elif api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._socket = socket
        self._places: dict[str, _Place] = {}
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_tell)
        self._running = threading.Thread(target=self._loop.run_forever, name="chat-requests", daemon=True)
        self._running.start()

    @property
    def authorization(self) -> str | None:
        """Return the header that carries the key, if any."""
        return self._headers.get("Authorization")

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
        if "_session" in self.__dict__:
            await self._session.close()

    async def _in_time(self, path: str, body: Mapping[str, object] | None) -> Reply:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._followed(path, body)
        except TimeoutError:
            raise Hung from None
        except (aiohttp.ClientError, httpx.InvalidURL, ValueError, OSError) as error:
            raise Unreachable(type(error).__name__, sent=not isinstance(error, _NOT_SENT)) from None

    async def _followed(self, path: str, body: Mapping[str, object] | None) -> Reply:
        """Return the reply where redirects on the same host end; the next request goes there at once."""
        place = self._places.get(path)
        if place is None:
            place = _Place.of(self.base_url.copy_with(path=f"{self.base_url.path.rstrip('/')}/{path}"))
        for _ in range(_MOST_REDIRECTS):
            reply = await self._once(place, body)
            if reply.status not in _REDIRECTS or "location" not in reply.headers:
                if reply.status < 400:
                    self._places[path] = place
                return reply
            place = _Place.of(onward(place.url, reply.headers["location"]))
        raise LedAway("itself", endless=True)

    async def _once(self, place: _Place, body: Mapping[str, object] | None) -> Reply:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        method = "GET" if body is None else "POST"
        proxy = None if self._socket else place.proxy
        async with self._session.request(method, place.plain, data=content, allow_redirects=False, proxy=proxy) as response:
            headers = {name: ", ".join(response.headers.getall(name)) for name in _KEPT_HEADERS if name in response.headers}
            most = LONGEST_STREAM if is_stream(headers) else LONGEST_BODY
            raw = bytearray()
            async for part in response.content.iter_any():
                raw += part
                if len(raw) > most:
                    raise Unreadable(f"is longer than {most // 2**20} MiB")
        return Reply(response.status, headers, decoded(bytes(raw), headers.get("content-encoding", ""), most))

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        """Made in the event loop by the first request. It has as many connections as there are requests, which callers bound."""
        if self._socket is not None:
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(str(self._socket), limit=0)
        else:
            connector = aiohttp.TCPConnector(limit=0, ssl=httpx.create_ssl_context())
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(),  # none: each request has its own
        )


@dataclass(frozen=True)
class _Place:
    """Where requests go: the address as written, the same without a name and a password, and the environment's proxy for it."""

    url: httpx.URL
    plain: yarl.URL
    proxy: yarl.URL | None

    @classmethod
    def of(cls, url: httpx.URL) -> _Place:
        """Look at the environment, and not by aiohttp's `trust_env`, which would also send the password that ~/.netrc has for a host."""
        plain = yarl.URL(str(url.copy_with(userinfo=b"")), encoded=True)
        known = urllib.request.getproxies()
        proxy = known.get(url.scheme) or known.get("all")
        if not proxy or any(map(urllib.request.proxy_bypass, (url.netloc.decode(), url.host))):  # the host of ::1 has no brackets
            return cls(url, plain, None)
        return cls(url, plain, yarl.URL(proxy if "://" in proxy else f"http://{proxy}"))


def _tell(loop: asyncio.AbstractEventLoop, what: dict[str, object]) -> None:
    """Say what went wrong in the loop, but not that a process ends without goodbye to its servers, of which aiohttp would make a report."""
    if not {"client_session", "connector", "client_connection"} & what.keys():
        loop.default_exception_handler(what)


def _basic(url: httpx.URL) -> str:
    return f"Basic {base64.b64encode(f'{url.username}:{url.password}'.encode()).decode()}"


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
