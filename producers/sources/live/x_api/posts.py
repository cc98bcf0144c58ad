"""Makes events of the lines of X's filtered stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from producers.sources import dates
from producers.sources.live.languages import is_wanted
from producers.sources.live.recent import Recent
from producers.sources.live.x_api.ledger import Ledger
from producers.sources.names import Names
from producers.sources.objects import lines_of
from workers.ingest.live import Deletion, Event, Hole, Unusable
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.json_decoding import DECODER

FIELDS = "id,text,author_id,conversation_id,created_at,edit_history_tweet_ids,lang,note_tweet,referenced_tweets"
"""What is asked for of each post. The text of a retweet is cut off, and whole in the post that it repeats."""

EXPANSIONS = "referenced_tweets.id"

_LONGEST_ID = 40
_TABLE = Names()
# The ends of the addresses by which the API names its problems.
_USED_UP = ("usage-capped", "credits-depleted", "spend-cap-reached")


class Disconnected(Exception):
    """X says that it ends the connection."""


class Posts:
    """What was read of a stream, and what its lines mean.

    Args:
        ledger: of the posts before.
        price: of a post, in dollars.
        source: the name that tweets carry.
        languages: that are wanted; none: all.

    Attributes:
        ledger: with the posts that came since.
        was_connected: whether X has served the stream once.
    """

    def __init__(self, ledger: Ledger, price: float, source: str, languages: frozenset[str]) -> None:
        self.ledger = ledger
        self._price, self._source, self._languages = price, source, languages
        self._broken = False
        self._known = Recent()
        self.was_connected = False

    def connect(self) -> None:
        """Note that a connection is opened: what was written since the last post is lost."""
        self.was_connected = True
        self._broken = self.ledger.newest is not None

    def events(self, line: bytes) -> list[Event]:
        """Return what a line means; a hole may come before it.

        Raises:
            Disconnected: the connection ends.
            SourceError: the account has used up what it may read.
        """
        try:
            document = DECODER.decode(line.decode())
        except (ValueError, RecursionError):
            return [self.refused(None, "the line is not JSON")]
        except RowError as refused:
            return [self.refused(refused.field, refused.reason)]
        if not isinstance(document, dict):
            return [self.refused(None, "the line is JSON but no object")]
        if "data" not in document:
            _check_errors(document)
            return [Event(str(self.ledger), notice="line without a post")]
        # It is paid for whatever it holds, and so are the posts beside it.
        self.ledger = self.ledger.charged(_count(document), self._price)
        data = document["data"]
        if not isinstance(data, dict):
            return [self.refused("data", "data holds something that is no object")]
        return self._of_post(document, data)

    def _of_post(self, document: dict[str, object], data: dict[str, object]) -> list[Event]:
        identity, moment = data.get("id"), dates.parse_date(data.get("created_at"))
        before = self.ledger
        if isinstance(identity, str) and len(identity) <= _LONGEST_ID:
            if not self._known.add(identity):
                return [Event(str(self.ledger), notice="repetition", moment=moment)]
            self.ledger = self.ledger.at(identity, moment)
        events = []
        if self._broken:
            hole = Hole(before.moment, moment, "X sends nothing of the time without a connection")
            events.append(Event(str(before), hole=hole, moment=moment))
            self._broken = False
        first, revised = _first_version(data)
        event = replace(self._of_text(document, data, first), moment=moment)
        if revised and event.tweet is None:
            # What stood there before was edited away.
            return [*events, replace(event, deleted=Deletion(str(first)))]
        return [*events, replace(event, revised=revised)]

    def _of_text(self, document: Mapping[str, object], data: Mapping[str, object], first: object) -> Event:
        if not is_wanted(data.get("lang"), self._languages):
            return Event(str(self.ledger), notice="other language")
        found = next(lines_of({**document, "data": {**data, "id": first}}, 1, self._source, _TABLE))
        if found.rejected is not None:
            return self.refused(found.rejected.field, found.rejected.reason)
        return Event(str(self.ledger), tweet=found.tweet, notice=found.notice)

    def refused(self, field: str | None, reason: str) -> Event:
        """Return the event of a line that can't be used."""
        key = "before the first" if self.ledger.newest is None else f"after {self.ledger.newest}"
        return Event(str(self.ledger), rejected=Unusable(key, field, reason))


def _first_version(data: Mapping[str, object]) -> tuple[object, bool]:
    """Return the id of the post before it was edited, and whether it was: each version has an id of its own."""
    history = data.get("edit_history_tweet_ids")
    if isinstance(history, list) and len(history) > 1 and isinstance(history[0], str) and data.get("id") != history[0]:
        return history[0], True
    return data.get("id"), False


def _count(document: Mapping[str, object]) -> int:
    includes = document.get("includes")
    beside = includes.get("tweets") if isinstance(includes, dict) else None
    return 1 + (len(beside) if isinstance(beside, list) else 0)


def _check_errors(document: Mapping[str, object]) -> None:
    errors = document.get("errors")
    kinds = [str(error.get("type", "")) for error in (errors if isinstance(errors, list) else []) if isinstance(error, dict)]
    if any(kind.endswith(_USED_UP) for kind in kinds):
        raise SourceError(
            "the account of X_BEARER_TOKEN has used up what it may read: buy credits or raise its limit in X's developer console"
        )
    if kinds:
        raise Disconnected
