"""An HTTP server on loopback that sends what it is told, piece by piece: the streams of Mastodon and X, and what is asked beside them.

with serving(lambda request: Reply(parts=[b"event: update\\n", 0.1, b"data: {}\\n\\n"], end="cut")) as server: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from tests.support.relay import listening


@dataclass
class Request:
    """What was asked for."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """The document that was sent."""
        return json.loads(self.body)


@dataclass
class Reply:
    """What is answered.

    Attributes:
        parts: bytes that are sent at once, and pauses in seconds.
        end: `whole` ends the body, `cut` breaks the connection off, `hold` keeps it open without a word.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes | float] = field(default_factory=list)
    end: Literal["whole", "cut", "hold"] = "whole"


def answer(document: Any, status: int = 200) -> Reply:
    """A JSON document."""
    return Reply(status, {"content-type": "application/json"}, [json.dumps(document).encode()])


@dataclass
class Server:
    """A server while it runs.

    Attributes:
        requests: in the order in which they came.
    """

    handler: Callable[[Request], Reply]
    port: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def host(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def to(self, path: str) -> list[Request]:
        """The requests to a path."""
        return [request for request in self.requests if request.path == path]


@contextmanager
def serving(handler: Callable[[Request], Reply], context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server while the block runs, with TLS if there is a `context`."""
    server = Server(handler)

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while (request := await _read(reader)) is not None:
                server.requests.append(request)
                if not await _send(writer, server.handler(request), reader):
                    break
        writer.transport.abort()

    with listening(session, context) as port:
        server.port = port
        yield server


async def _read(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Request(method, parts.path, dict(parse_qsl(parts.query)), headers, body)


async def _send(writer: asyncio.StreamWriter, reply: Reply, reader: asyncio.StreamReader) -> bool:
    head = {"transfer-encoding": "chunked", **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} told", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    for part in reply.parts:
        await writer.drain()
        if isinstance(part, bytes):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        else:
            await asyncio.sleep(part)
    if reply.end == "whole":
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    if reply.end == "hold":
        await reader.read()
    elif reply.end == "cut":
        await asyncio.sleep(0.02)
    return reply.end == "whole"
