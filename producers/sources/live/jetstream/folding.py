"""Makes of a frame what it means for tweets: one that was written, written anew or taken back, or nothing.

Folding is the reader's work in Jetstream: creates and updates apply; deletes, deleted accounts and syncs remove.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from producers.sources.dumps.bluesky import POST, recognised
from producers.sources.fields import line_of
from producers.sources.lines import Line, Notice
from producers.sources.live.jetstream.wires import Frame
from producers.sources.live.languages import is_wanted
from producers.sources.names import Names
from workers.ingest.live import Deletion, Event, Unusable
from workers.ingest.readers.errors import RowError
from workers.ingest.readers.ids import checked_id

_GONE = frozenset({"deleted", "takendown"})
"""States of an account whose content is to go. An account is `deactivated` for a while, and when it moves to another server."""

_STATES = frozenset({"deactivated", "suspended", "desynchronized", "throttled"})
_TABLE = Names()


class Folding:
    """Makes events of frames.

    Args:
        source: the name that tweets carry.
        languages: that are wanted; none: all.
    """

    def __init__(self, source: str, languages: frozenset[str]) -> None:
        self._source, self._languages = source, languages

    def event(self, frame: Frame, cursor: str) -> Event:
        """Return what a frame means, with the cursor behind it."""
        if frame.kind == "commit":
            return self._of_commit(frame, cursor)
        if frame.kind == "sync":
            # What the author has now follows as creates.
            return Event(cursor, deleted=Deletion(author=frame.did, resent=True), moment=frame.moment)
        if frame.kind == "account":
            return _of_account(frame, cursor)
        name = "identity event" if frame.kind == "identity" else "event of an unknown kind"
        return Event(cursor, notice=name, moment=frame.moment)

    def _of_commit(self, frame: Frame, cursor: str) -> Event:
        commit, moment = frame.body, frame.moment
        operation, key = commit.get("operation"), commit.get("rkey")
        if commit.get("collection") != POST:
            return Event(cursor, notice="record that is no post", moment=moment)
        if not isinstance(key, str) or not key:
            return Event(cursor, rejected=_unusable(frame, "rkey", "the commit names no record"), moment=moment)
        try:
            address = checked_id(f"at://{frame.did}/{POST}/{key}", "rkey")
        except RowError as refused:
            return Event(cursor, rejected=_unusable(frame, refused.field, refused.reason), moment=moment)
        if operation == "delete":
            return Event(cursor, deleted=Deletion(address, frame.did), moment=moment)
        if operation not in ("create", "update"):
            return Event(cursor, notice="commit of an unknown kind", moment=moment)
        event = self._of_record(frame, key, cursor)
        if operation == "update" and event.tweet is None:
            # What stood there before was edited away.
            return replace(event, deleted=Deletion(address, frame.did))
        return replace(event, revised=operation == "update")

    def _of_record(self, frame: Frame, key: str, cursor: str) -> Event:
        record, moment = frame.body.get("record"), frame.moment
        if not isinstance(record, dict):
            return Event(cursor, rejected=_unusable(frame, "record", "the commit holds no record"), moment=moment)
        if isinstance(record.get("text"), str) and not record["text"].strip():
            return Event(cursor, notice="post without text", moment=moment)
        if not is_wanted(record.get("langs"), self._languages):
            return Event(cursor, notice="other language", moment=moment)
        line = self._line(frame.did, key, record)
        if line.rejected is not None:
            return Event(cursor, rejected=_unusable(frame, line.rejected.field, line.rejected.reason), moment=moment)
        return Event(cursor, tweet=line.tweet, notice=line.notice, moment=moment)

    def _line(self, did: str, key: str, record: dict[str, object]) -> Line:
        # The dump of a stream has each post as a create.
        commit = {"operation": "create", "collection": POST, "rkey": key, "record": record}
        row = recognised({"did": did, "kind": "commit", "commit": commit})
        assert row is not None
        assert not isinstance(row, Notice)
        fields = _TABLE.fields_of(row)
        fields.setdefault("conversation", _quoted(record))
        return line_of(1, fields, self._source)


def _of_account(frame: Frame, cursor: str) -> Event:
    state = frame.body.get("status")
    if frame.body.get("active") is False and state in _GONE:
        return Event(cursor, deleted=Deletion(author=frame.did), moment=frame.moment)
    is_active = frame.body.get("active") is True
    told = state if state in _STATES else "active" if is_active else "in an unknown state"
    return Event(cursor, reinstated=frame.did if is_active else None, notice=f"account {told}", moment=frame.moment)


def _quoted(record: Mapping[str, object]) -> object:
    """Return the address of the post that this one quotes, if it does."""
    embed = record.get("embed")
    inner = embed.get("record") if isinstance(embed, dict) else None
    if isinstance(inner, dict) and isinstance(inner.get("record"), dict):
        inner = inner["record"]  # beside pictures it stands one level deeper
    address = inner.get("uri") if isinstance(inner, dict) else None
    return address if isinstance(address, str) and f"/{POST}/" in address else None


def _unusable(frame: Frame, field: str | None, reason: str) -> Unusable:
    return Unusable(str(frame.place), field, reason)
