"""Reads the frames of both wires of Jetstream, and says what is asked for when a connection is opened.

`network.bsky.jetstream.subscribeEvents` is the second version: its cursor `seq` counts the events of one server. `/subscribe` is the first,
which is kept as it was: its cursor `time_us` is a moment in microseconds. Both servers take a moment too: cursors from 1e15 on are moments.
https://github.com/bluesky-social/jetstream, docs/README.md, section 5, and lexicons/network/bsky/jetstream/subscribeEvents.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from producers.sources import dates
from producers.sources.dumps.bluesky import POST
from workers.ingest.readers.errors import RowError
from workers.ingest.readers.ids import checked_id
from workers.ingest.readers.json_decoding import DECODER

# What is wanted of whole accounts, beside commits. Changes of handles are not.
_KINDS = ("commit", "account", "sync")
_NSID = "network.bsky.jetstream.subscribeEvents"
_LARGEST = 2**63


@dataclass(frozen=True)
class Frame:
    """What a server says in one message.

    Attributes:
        kind: `commit`, `account`, `identity` or `sync`; `info` and `error` concern the connection; others may come.
        did: whose repository it is about.
        place: its cursor.
        moment: when the server saw it.
        body: of a commit, account, info or error: what it says.
    """

    kind: str
    did: str = ""
    place: int = 0
    moment: datetime | None = None
    body: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it the same as another frame: the cursor alone is none on the first wire, where several events may share a moment."""
        return (self.place, self.kind, self.did, *(self.body.get(name) for name in ("collection", "rkey", "operation", "rev")))


class Wire(Protocol):
    """One version of the protocol."""

    @property
    def version(self) -> int:
        """Its number."""
        ...

    @property
    def path(self) -> str:
        """Of its address."""
        ...

    @property
    def subprotocol(self) -> str | None:
        """What a WebSocket's subprotocol is called, where it is told."""
        ...

    def query(self, cursor: int | None, longest: int | None) -> list[tuple[str, str]]:
        """Return the parameters of a connection.

        Args:
            cursor: where to begin, this event included; None: with what comes next.
            longest: bytes of a frame, above which the server leaves it out; None: no bound.
        """
        ...

    def frame(self, text: str) -> Frame:
        """Return a message's frame.

        Raises:
            RowError: it is none, with the field that is at fault.
        """
        ...


class FirstWire:
    """`/subscribe`, with JSON objects that are no XRPC. Events of accounts and identities always come."""

    version = 1
    path = "/subscribe"
    subprotocol = None

    def query(self, cursor: int | None, longest: int | None) -> list[tuple[str, str]]:
        """Return the parameters of a connection."""
        return _given(("wantedCollections", POST), ("cursor", cursor), ("maxMessageSizeBytes", longest))

    def frame(self, text: str) -> Frame:
        """Return a message's frame."""
        event = _object(text)
        kind, place = _text(event, "kind"), _whole(event, "time_us")
        body = event.get(kind)
        if kind == "commit" and not isinstance(body, dict):
            raise RowError("commit", "the frame is a commit without one")
        return Frame(kind, checked_id(event.get("did"), "did"), place, _moment(place, "time_us"), body if isinstance(body, dict) else {})


class SecondWire:
    """`subscribeEvents`, with messages and errors in the envelope `xrpc.v1.json`."""

    version = 2
    path = f"/xrpc/{_NSID}"
    subprotocol = "xrpc.v1.json"

    def query(self, cursor: int | None, longest: int | None) -> list[tuple[str, str]]:
        """Return the parameters of a connection."""
        kinds = [("kinds", kind) for kind in _KINDS]
        return _given(*kinds, ("collections", POST), ("cursor", cursor), ("maxMessageSizeBytes", longest))

    def frame(self, text: str) -> Frame:
        """Return a message's frame."""
        envelope = _object(text)
        if envelope.get("$type") == "error":
            return Frame("error", body=envelope)
        payload = envelope.get("payload")
        if envelope.get("$type") != "message" or not isinstance(payload, dict):
            raise RowError("$type", "the frame is neither a message nor an error")
        kind = _text(payload, "$type").rpartition("#")[2]
        if kind == "info":
            return Frame("info", body=payload)
        moment = payload.get("witnessedAt", payload.get("time"))
        body = payload if kind == "commit" else payload.get(kind)
        return Frame(
            kind,
            checked_id(payload.get("did"), "did"),
            _whole(payload, "seq"),
            _moment(moment, "time"),
            body if isinstance(body, dict) else {},
        )


WIRES: tuple[Wire, ...] = (SecondWire(), FirstWire())


def _given(*parameters: tuple[str, str | int | None]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in parameters if value is not None]


def _object(text: str) -> dict[str, object]:
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError):
        raise RowError(None, "the frame is not JSON") from None
    if not isinstance(value, dict):
        raise RowError(None, "the frame is JSON but no object")
    return value


def _text(event: Mapping[str, object], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise RowError(name, f"the frame has no {name}, or one that is no text")
    return value


def _whole(event: Mapping[str, object], name: str) -> int:
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST:
        raise RowError(name, f"the frame has no {name}, or one that is no whole number")
    return value


def _moment(value: object, name: str) -> datetime:
    moment = dates.parse_date(value)
    if moment is None:
        raise RowError(name, f"the frame has no {name}, or one that is no date")
    return moment
