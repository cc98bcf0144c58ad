"""Makes events of what a server of Mastodon says: https://docs.joinmastodon.org/methods/streaming/ and /entities/Status/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from producers.sources import dates
from producers.sources.fields import line_of
from producers.sources.live import cursors
from producers.sources.live.languages import is_wanted
from producers.sources.live.recent import Recent
from workers.ingest.live import Deletion, Event, Hole, Unusable
from workers.ingest.readers.errors import RowError
from workers.ingest.readers.ids import checked_id
from workers.ingest.readers.json_decoding import DECODER
from workers.text.html import to_text

_PUBLIC = frozenset({"public", "unlisted"})
_OTHERS = frozenset(
    {
        "notification",
        "notifications_merged",
        "conversation",
        "filters_changed",
        "announcement",
        "announcement.reaction",
        "announcement.delete",
        "encrypted_message",
    }
)
_BOOST, _OF_BOT = "boost", "post of a bot"
_NEVER_TAKEN = frozenset({_BOOST, _OF_BOT})
_LONGEST_ID = 100


class Statuses:
    """What was read of one stream, and what its events mean.

    Args:
        host: of the server, with its port.
        source: the name that tweets carry.
        languages: that are wanted; none: all.

    Attributes:
        newest: the greatest id of a post so far; None before the first one.
    """

    def __init__(self, host: str, source: str, languages: frozenset[str]) -> None:
        self._host, self._source, self._languages = host, source, languages
        self.newest: str | None = None
        self._moment: datetime | None = None
        # Some come by the stream while older ones are caught up, and by the timeline too.
        self._known = Recent()
        self._lost: str | None = None

    @property
    def cursor(self) -> str:
        """What is stored: posts up to an id are done."""
        return json.dumps({"host": self._host, "id": self.newest, "time_us": cursors.stored(self._moment)})

    def go_on(self, cursor: str) -> None:
        """Begin behind a stored cursor.

        Raises:
            SourceError: it is not one of this server.
        """
        try:
            stored = json.loads(cursor)
            host, newest = stored["host"], stored["id"]
            self._moment = cursors.moment_of(stored["time_us"])
            self.newest = None if newest is None else checked_id(newest)
        except (ValueError, TypeError, KeyError, OverflowError, RowError):
            raise cursors.foreign("Mastodon") from None
        if host != self._host:
            raise cursors.foreign(self._host)

    def lose(self, reason: str) -> None:
        """Note that posts behind the newest one can't be had; it is told with the next one that comes."""
        self._lost = reason

    def events(self, name: str, data: str) -> list[Event]:
        """Return what an event of the stream means; a hole may come before it."""
        if name == "delete":
            return [self._deletion(data)]
        if name not in ("update", "status.update"):
            return [Event(self.cursor, notice=name if name in _OTHERS else "event of an unknown kind")]
        try:
            status = DECODER.decode(data)
        except (ValueError, RecursionError):
            return [self._refused(None, None, "the post is not JSON")]
        except RowError as refused:
            return [self._refused(None, refused.field, refused.reason)]
        return self.of_status(status, revised=name == "status.update")

    def of_status(self, status: object, *, revised: bool = False) -> list[Event]:
        """Return what a post means; a hole may come before it."""
        if not isinstance(status, dict):
            return [self._refused(None, None, "the post is JSON but no object")]
        try:
            local = checked_id(status.get("id"))
        except RowError as refused:
            return [self._refused(None, refused.field, refused.reason)]
        if len(local) > _LONGEST_ID:
            return [self._refused(None, "id", f"the id has more than {_LONGEST_ID} characters")]
        moment = dates.parse_date(status.get("edited_at") if revised else status.get("created_at"))
        if revised:
            event = self._of_text(status, local, moment, revised=True)
            # What stood there before was edited away; of what is never taken nothing stood there.
            is_gone = event.tweet is None and event.notice not in _NEVER_TAKEN
            return [replace(event, deleted=Deletion(self._id(local))) if is_gone else event]
        if not self._known.add(local):
            return [Event(self.cursor, notice="repetition", moment=moment)]
        before = self.cursor, self._moment
        self._advance(local, moment)
        events = []
        if self._lost is not None:
            events.append(Event(before[0], hole=Hole(before[1], moment, self._lost), moment=moment))
            self._lost = None
        return [*events, self._of_text(status, local, moment, revised=False)]

    def _advance(self, local: str, moment: datetime | None) -> None:
        if self.newest is None or order(local) > order(self.newest):
            self.newest, self._moment = local, moment

    def _deletion(self, data: str) -> Event:
        try:
            return Event(self.cursor, deleted=Deletion(self._id(checked_id(data.strip()))))
        except RowError as refused:
            return self._refused(None, refused.field, refused.reason)

    def _of_text(self, status: Mapping[str, object], local: str, moment: datetime | None, *, revised: bool) -> Event:
        notice = self._unwanted(status)
        if notice is not None:
            return Event(self.cursor, notice=notice, moment=moment)
        answered = status.get("in_reply_to_id")
        fields: dict[str, object] = {
            "id": self._id(local),
            "text": _text(status),
            "author": self._author(status.get("account")),
            "lang": status.get("language"),
            "created_at": status.get("created_at"),
            "conversation": self._id(answered) if isinstance(answered, str) and answered else None,
        }
        line = line_of(1, fields, self._source)
        if line.rejected is not None:
            return self._refused(local, line.rejected.field, line.rejected.reason)
        return Event(self.cursor, tweet=line.tweet, revised=revised, moment=moment)

    def _unwanted(self, status: Mapping[str, object]) -> str | None:
        """Return what a post is that is not wanted; None for one that is."""
        account = status.get("account")
        if isinstance(status.get("reblog"), dict):
            return _BOOST
        if status.get("visibility", "public") not in _PUBLIC:
            return "post that is not public"
        if isinstance(account, dict) and account.get("bot") is True:
            return _OF_BOT
        if not is_wanted(status.get("language"), self._languages):
            return "other language"
        text = _text(status)
        return "post without text" if isinstance(text, str) and not text.strip() else None

    def _id(self, local: str) -> str:
        """Return an id that is unambiguous over servers: a deletion names no more than the server's own."""
        return f"{self._host}/{local}"

    def _author(self, account: object) -> object:
        """Return an author as everybody names them, with their server."""
        name = account.get("acct") if isinstance(account, dict) else None
        return name if not isinstance(name, str) or not name or "@" in name else f"{name}@{self._host}"

    def _refused(self, local: str | None, field: str | None, reason: str) -> Event:
        key = local or ("before the first" if self.newest is None else f"after {self.newest}")
        return Event(self.cursor, rejected=Unusable(key, field, reason))


def order(local: str) -> tuple[int, str]:
    """Return by what ids are compared: numbers by their size, though they are text."""
    return len(local), local


def _text(status: Mapping[str, object]) -> object:
    """Return a post's text as it is read: a content warning stands above what it warns of."""
    content, warning = status.get("content"), status.get("spoiler_text")
    if not isinstance(content, str):
        return content
    body = to_text(content).strip()
    return f"{warning.strip()}\n\n{body}".strip() if isinstance(warning, str) and warning.strip() else body
