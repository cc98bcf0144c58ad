"""Streams for tests: a source that says what it is told to, and looks into what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.records import TweetRecord
from tasks import streams
from workers.ingest.live import Event
from workers.settings import get_settings
from workers.streams.holding import Held, NewStream

ECHO = {"TWEETMILL_ENGINE": "echo"}


def tweet(name: str, said: str | None = None, cursor: str | None = None, **more: Any) -> Event:
    """An event with a tweet of this id, which is its cursor too."""
    return Event(
        cursor or name, tweet=TweetRecord(id=name, text=said or f"omg the bus number {name} was late AGAIN", source="club"), **more
    )


@dataclass
class Scripted:
    """A live source that yields events, and where something is to be done in between calls it."""

    script: Sequence[Event | Callable[[], object] | None]
    waits: bool = True
    origin: str = "scripted"
    asked: list[str | None] = field(default_factory=list)
    yielded: int = 0

    def events(self, cursor: str | None, idle_seconds: float = 1.0) -> Iterator[Event | None]:
        """Yield the events behind the cursor."""
        del idle_seconds
        self.asked.append(cursor)
        found = [each.cursor if isinstance(each, Event) else None for each in self.script]
        start = found.index(cursor) + 1 if cursor is not None and cursor in found else 0
        for step in self.script[start:]:
            if callable(step):
                step()
                continue
            self.yielded += 1
            yield step


def add_model(engine: Engine, name: str = "echoed") -> int:
    """A model for the engine that echoes."""
    with engine.begin() as connection:
        new = "INSERT INTO model (name, base, method, stage) VALUES (:name, 'none', 'none', 'summary') RETURNING id"
        return int(connection.execute(text(new), {"name": name}).scalar_one())


def echoing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A database with that model, and a process whose engine echoes."""
    monkeypatch.setenv("TWEETMILL_ENGINE", ECHO["TWEETMILL_ENGINE"])
    get_settings.cache_clear()
    add_model(engine)
    return engine


def begin(name: str = "club", model: str = "echoed", address: str = "scripted", *, from_start: bool = False) -> Held:
    """Take a stream for this process."""
    return streams.start(NewStream(name, address, model, {"batch": 3}), from_start=from_start)


def rows(engine: Engine, statement: str, **values: object) -> list[tuple[Any, ...]]:
    """What a statement finds."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), values)]


def arrivals(engine: Engine, stream: str = "club") -> list[tuple[int, str]]:
    """The tweets that arrived for a stream, by their ordinals."""
    return rows(engine, "SELECT ordinal, tweet FROM arrival WHERE stream = :stream ORDER BY ordinal", stream=stream)  # type: ignore[return-value]


def shards(engine: Engine, stream: str = "club") -> list[tuple[int, ...]]:
    """The ordinals from which and to which each shard of a stream goes, and its tweets."""
    return rows(engine, "SELECT first, last, tweets FROM stream_shard WHERE stream = :stream ORDER BY first", stream=stream)
