"""Connects to a Jetstream server, again and again, and yields what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from producers.sources.live import http_streams
from producers.sources.live.jetstream.folding import Folding
from producers.sources.live.jetstream.refusals import TOO_MANY, TOO_OLD, check_failure, error_named, is_too_long, status_of
from producers.sources.live.jetstream.trail import Position, Trail
from producers.sources.live.jetstream.wires import WIRES, Frame
from producers.sources.live.patience import PATIENT, Patience
from producers.sources.live.pauses import Pauses
from producers.sources.live.stepping import stepped
from workers.ingest.live import Event, Unusable
from workers.ingest.readers.errors import RowError, SourceError

if TYPE_CHECKING:
    from producers.sources.live.registry import LiveOptions

NAME = "bluesky"
DEFAULT_ADDRESS = f"wss://jetstream.us-east.bsky.network{WIRES[0].path}"
LONGEST_FRAME = 4 * 2**20
"""Bytes: a record has at most 1 MiB."""

_AGENT = "tweetmill"
_CLOSE_SECONDS = 1.0


class Jetstream:
    """The posts of Bluesky, by a Jetstream server.

    Args:
        address: `bluesky`, or the address of a server's stream: `wss://HOST/xrpc/network.bsky.jetstream.subscribeEvents`, or
            `wss://HOST/subscribe` for the first version of the protocol.
        options: `name` and `languages`.
        patience: how long it waits for what.
        longest: bytes of a frame.

    Raises:
        SourceError: the address is none of Jetstream.
    """

    waits = False

    def __init__(self, address: str, options: LiveOptions, patience: Patience = PATIENT, longest: int = LONGEST_FRAME) -> None:
        self.origin = DEFAULT_ADDRESS if address == NAME else address
        parts = http_streams.split(self.origin)
        wire = next((wire for wire in WIRES if wire.path == parts.path), None)
        if wire is None:
            paths = " or ".join(f"wss://HOST{wire.path}" for wire in WIRES)
            raise SourceError(f"this is not the address of a Jetstream: write {NAME}, or {paths}")
        if parts.query:
            raise SourceError("write the address of a Jetstream without parameters: leave out what stands behind ?")
        self._wire, self._host = wire, parts.netloc.lower()
        self._folding = Folding(options.name or NAME, options.languages)
        self._patience, self._longest = patience, longest

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is one of Jetstream: each of a WebSocket is taken for one."""
        return address == NAME or address.startswith(("ws://", "wss://"))

    def events(self, cursor: str | None, idle_seconds: float = 1.0) -> Iterator[Event | None]:
        """Yield what the server says behind a cursor, forever. See `workers.ingest.live.LiveSource`."""
        start = Position(self._wire.version, self._host) if cursor is None else Position.read(cursor)
        trail = Trail(start, self._wire.version, self._host, self._patience.rewind, self._patience.hole_after)
        return stepped(self._followed(trail), idle_seconds)

    async def _followed(self, trail: Trail) -> AsyncGenerator[Event, None]:
        """Yield events over all connections."""
        pauses = Pauses(self._patience.first_pause, self._patience.longest_pause)
        answered = trail.is_of(self._host)
        bound: int | None = None
        while True:
            pause, began = 0.0, trail.position
            try:
                async with self._connected(trail, bound) as line:
                    if answered and trail.position.place is not None:
                        yield Event(str(trail.position), notice="connection")
                    answered = True
                    async for event in self._read(line, trail):
                        if trail.position != began:
                            pauses.reset()
                        yield event
            except _Ended as ended:
                if ended.again_at_once:
                    continue
            except (OSError, WebSocketException, ImportError) as failure:
                if error_named(failure) == TOO_OLD and trail.lose(self._lost(TOO_OLD)):
                    continue
                if is_too_long(failure):
                    yield self._too_long(trail, bound)
                    bound = self._longest
                else:
                    check_failure(failure, self._host, lasts=not answered and pauses.tries + 1 >= self._patience.first_tries)
                    pause = self._patience.longest_pause if status_of(failure) == TOO_MANY else 0.0
            await asyncio.sleep(max(pauses.next(), pause))

    def _connected(self, trail: Trail, bound: int | None) -> connect:
        query = urlencode(self._wire.query(trail.resume(), bound))
        return connect(
            f"{self.origin}?{query}",
            subprotocols=None if self._wire.subprotocol is None else [Subprotocol(self._wire.subprotocol)],
            compression=None,
            user_agent_header=_AGENT,
            open_timeout=self._patience.connect,
            # Silence is judged here: while nobody asks for events no answer to a ping would be seen.
            ping_interval=None,
            close_timeout=_CLOSE_SECONDS,
            max_size=self._longest,
        )

    async def _read(self, line: ClientConnection, trail: Trail) -> AsyncGenerator[Event, None]:
        """Yield the events of one connection, until it breaks."""
        while True:
            try:
                async with asyncio.timeout(self._patience.stall):
                    message = await line.recv(decode=False)
            except TimeoutError:
                raise _Ended from None
            try:
                frame = self._wire.frame(message.decode())
            except UnicodeDecodeError:
                yield _rejected(trail, None, "the frame is no text")
                continue
            except RowError as refused:
                yield _rejected(trail, refused.field, refused.reason)
                continue
            if frame.kind == "error":
                name = "consumer too slow" if frame.body.get("error") == "ConsumerTooSlow" else "error of the server"
                yield Event(str(trail.position), notice=name)
                raise _Ended
            if frame.kind == "info":
                self._heed(frame, trail)
                yield Event(str(trail.position), notice="advice of the server")
                continue
            if (hole := trail.hole(frame)) is not None:
                yield Event(str(trail.before(frame)), hole=hole, moment=frame.moment)
            if trail.advance(frame):
                yield self._folding.event(frame, str(trail.position))
            else:
                yield Event(str(trail.position), notice="repetition", moment=frame.moment)

    def _heed(self, frame: Frame, trail: Trail) -> None:
        """Note what the server says of the cursor; raise `_Ended` where another one must be tried."""
        name = frame.body.get("name")
        if name == "OutdatedCursor":
            trail.lose(self._lost(name))
        elif name == "FutureCursor":
            if trail.distrust():
                raise _Ended(again_at_once=True)
            trail.lose(self._lost(name))

    def _lost(self, name: str) -> str:
        return f"{self._host} no longer had what came behind the last event ({name})"

    def _too_long(self, trail: Trail, bound: int | None) -> Event:
        if bound is not None:
            raise SourceError(f"{self._host} sends frames of more than {self._longest} bytes though asked not to: take another server")
        return _rejected(trail, None, f"the frame is longer than {self._longest} bytes")


def _rejected(trail: Trail, field: str | None, reason: str) -> Event:
    place = trail.position.place
    return Event(str(trail.position), rejected=Unusable("before the first" if place is None else f"after {place}", field, reason))


class _Ended(Exception):
    """The connection is of no more use."""

    def __init__(self, *, again_at_once: bool = False) -> None:
        super().__init__()
        self.again_at_once = again_at_once
