"""A Jetstream server on loopback that speaks both wires and fails as its script says.

with serving(posts(20)) as server:
    server.next(Connection(cut_after=7))
    ... Jetstream(server.second, ...)

What it does with cursors, filters and errors is what https://github.com/bluesky-social/jetstream documents: `docs/README.md`, section 5.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

POST = "app.bsky.feed.post"
NSID = "network.bsky.jetstream.subscribeEvents"
BEGAN = 1_764_000_000_000_000
"""The moment of seq 0, in microseconds; each event comes a second after the one before it."""


@dataclass
class Entry:
    """An event in the server's log."""

    seq: int
    kind: str
    did: str
    body: dict[str, Any]
    time_us: int

    def first(self) -> str:
        """As the first wire has it."""
        return json.dumps({"did": self.did, "time_us": self.time_us, "cursor": self.seq, "kind": self.kind, self.kind: self.body})

    def second(self) -> str:
        """As the second wire has it."""
        time = datetime.fromtimestamp(self.time_us / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        inside = self.body if self.kind == "commit" else {self.kind: self.body}
        payload = {"$type": f"{NSID}#{self.kind}", "seq": self.seq, "did": self.did, "time": time, "witnessedAt": time, **inside}
        return json.dumps({"$type": "message", "payload": payload})


def did(number: int) -> str:
    """The DID of an author."""
    return f"did:plc:{number:024d}"


def commit(seq: int, operation: str = "create", key: str | None = None, author: int = 1, record: Any = None, **more: Any) -> Entry:
    """An entry about a post; by default a new one whose text has its number."""
    body: dict[str, Any] = {"rev": f"rev{seq}", "operation": operation, "collection": POST, "rkey": key or f"key{seq}"}
    if operation != "delete":
        body["record"] = {"$type": POST, "text": f"post number {seq}", "createdAt": "2025-11-24T16:00:00.000Z"} | (record or {})
    return Entry(seq, "commit", did(author), {**body, **more}, BEGAN + seq * 1_000_000)


def account(seq: int, author: int, *, active: bool, status: str | None = None) -> Entry:
    """An entry about an account."""
    body = {"active": active, "did": did(author), "seq": 99, "time": "2025-11-24T16:00:00.000Z"} | ({"status": status} if status else {})
    return Entry(seq, "account", did(author), body, BEGAN + seq * 1_000_000)


def other(seq: int, kind: str, author: int = 1) -> Entry:
    """An entry of another kind, such as `sync` or `identity`."""
    return Entry(seq, kind, did(author), {"did": did(author), "seq": 99}, BEGAN + seq * 1_000_000)


def posts(count: int, first: int = 1) -> list[Entry]:
    """So many new posts, each by another author."""
    return [commit(seq, author=seq) for seq in range(first, first + count)]


@dataclass
class Connection:
    """How the server behaves on one connection.

    Attributes:
        status: the HTTP status with which it refuses it, and the name of the XRPC error.
        cut_after: frames after which it is cut off, without a word.
        half: the frame behind them is sent by half before.
        stall_after: frames after which nothing comes.
        before: what is sent before the frame of this number, counted from 0: texts, or bytes as binary messages.
        order: of the frames, by their place from 0; each may stand several times.
    """

    status: int | None = None
    error: str | None = None
    cut_after: int | None = None
    half: bool = False
    stall_after: int | None = None
    before: dict[int, list[str | bytes]] = field(default_factory=dict)
    order: list[int] | None = None


@dataclass
class Jetstream:
    """A server while it runs.

    Attributes:
        log: what it has, in order.
        floor: the lowest seq that can be asked for.
        asked: the query of each request, and its path.
        per_second: entries that come to the log, from the first connection on; all are there from the beginning without it.
    """

    log: list[Entry]
    floor: int = 0
    port: int = 0
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    scripts: deque[Connection] = field(default_factory=deque)
    open_now: int = 0
    per_second: float | None = None
    began: float | None = None

    @property
    def first(self) -> str:
        """The address of the first wire."""
        return f"ws://127.0.0.1:{self.port}/subscribe"

    @property
    def second(self) -> str:
        """The address of the second wire."""
        return f"ws://127.0.0.1:{self.port}/xrpc/{NSID}"

    @property
    def host(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def next(self, *scripts: Connection) -> None:
        """Say how it behaves on the next connections."""
        self.scripts.extend(scripts)

    @property
    def cursors(self) -> list[int | None]:
        """The cursors that were asked for, in order."""
        return [int(query["cursor"][0]) if "cursor" in query else None for query in self.asked]

    async def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        self.asked.append(query | {"path": [parts.path], "protocol": [request.headers.get("Sec-WebSocket-Protocol", "")]})
        script = self.scripts.popleft() if self.scripts else Connection()
        connection.script = script  # type: ignore[attr-defined]
        cursor = int(query.get("cursor", ["-1"])[0])
        if script.status is not None:
            return _refusal(connection, script.status, script.error or "InvalidRequest")
        if parts.path == "/subscribe":
            return None
        if parts.path != f"/xrpc/{NSID}":
            return _refusal(connection, 404, "MethodNotImplemented")
        if "wantedCollections" in query:
            return _refusal(connection, 400, "InvalidRequest")
        return _refusal(connection, 400, "CursorTooOld") if 0 <= cursor < min(self.floor, 10**15) else None

    async def _speak(self, connection: ServerConnection) -> None:
        parts = urlsplit(connection.request.path)  # type: ignore[union-attr]
        query = parse_qs(parts.query)
        is_second = parts.path != "/subscribe"
        cursor = int(query["cursor"][0]) if "cursor" in query else None
        script: Connection = connection.script  # type: ignore[attr-defined]
        self.open_now += 1
        try:
            if is_second and (notice := self._notice(cursor)):
                await connection.send(json.dumps({"$type": "message", "payload": {"$type": f"{NSID}#info", "name": notice}}))
            entries = [entry for entry in self._from(cursor) if self._wants(entry, query, is_second=is_second)]
            ordered = entries if script.order is None else [entries[place] for place in script.order]
            frames = [entry.second() if is_second else entry.first() for entry in ordered]
            longest = int(query.get("maxMessageSizeBytes", ["0"])[0])
            self.began = self.began or time.monotonic()
            await self._send(
                connection, script, [frame for frame in frames if not longest or len(frame) <= longest], len(self.log) - len(frames)
            )
            await connection.wait_closed()
        finally:
            self.open_now -= 1

    async def _send(self, connection: ServerConnection, script: Connection, frames: list[str], skipped: int = 0) -> None:
        for number, frame in enumerate(frames):
            if number == script.stall_after:
                return
            if number == script.cut_after:
                if script.half:
                    data = frame.encode()
                    connection.transport.write(b"\x81\x7e" + len(data).to_bytes(2, "big") + data[: len(data) // 2])
                    await asyncio.sleep(0.02)
                connection.transport.abort()
                return
            for inserted in script.before.get(number, []):
                await connection.send(inserted)
            if self.per_second and self.began:
                due = self.began + (skipped + number) / self.per_second
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
            await connection.send(frame)
        for inserted in script.before.get(len(frames), []):
            await connection.send(inserted)
        if script.cut_after is not None:
            connection.transport.abort()

    def _notice(self, cursor: int | None) -> str | None:
        if cursor is None or not self.log:
            return None
        if cursor >= 10**15:
            oldest = next((entry for entry in self.log if entry.seq >= self.floor), None)
            return "OutdatedCursor" if oldest is not None and cursor < oldest.time_us else None
        return "FutureCursor" if cursor > self.log[-1].seq + 1 else None

    def _from(self, cursor: int | None) -> list[Entry]:
        """From the cursor on; the whole log without one, since tests come after it was written."""
        kept = [entry for entry in self.log if entry.seq >= self.floor]
        if cursor is None:
            return kept
        if cursor >= 10**15:
            return [entry for entry in kept if entry.time_us >= cursor]
        return [entry for entry in kept if entry.seq >= cursor] if cursor <= self.log[-1].seq + 1 else []

    def _wants(self, entry: Entry, query: dict[str, list[str]], *, is_second: bool) -> bool:
        kinds, collections = query.get("kinds"), query.get("collections", query.get("wantedCollections"))
        if (kinds and entry.kind not in kinds) or (entry.kind == "sync" and not is_second):
            return False
        return entry.kind != "commit" or not collections or entry.body["collection"] in collections


def _refusal(connection: ServerConnection, status: int, error: str) -> Response:
    response = connection.respond(HTTPStatus(status), json.dumps({"error": error, "message": "as documented"}))
    response.headers["Content-Type"] = "application/json"
    return response


@contextmanager
def serving(log: list[Entry], floor: int = 0, context: ssl.SSLContext | None = None) -> Iterator[Jetstream]:
    """A server while the block runs, with TLS if there is a `context`."""
    jetstream = Jetstream(log, floor)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> WebSocketServer:
        return await serve(
            jetstream._speak,
            "127.0.0.1",
            0,
            process_request=jetstream._refuse,
            select_subprotocol=lambda _, offered: Subprotocol("xrpc.v1.json") if "xrpc.v1.json" in offered else None,
            compression=None,
            close_timeout=0.1,
            ssl=context,
        )

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    jetstream.port = server.sockets[0].getsockname()[1]

    async def stop() -> None:
        server.close()
        for connection in list(server.connections):
            connection.transport.abort()
        await server.wait_closed()

    try:
        yield jetstream
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
