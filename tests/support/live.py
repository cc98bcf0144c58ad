"""Reads live sources in tests: a few events, with bounds that let a test end soon."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

from producers.sources.live.patience import Patience
from workers import clock
from workers.ingest.live import Event, LiveSource

QUICK = Patience(connect=10, stall=15, first_pause=0.005, longest_pause=0.02, first_tries=3, hole_after=5, rewind=2)
"""Pauses that a test can wait for."""

IMPATIENT = replace(QUICK, stall=1.0)
"""The same, for a server that stalls."""

_MOST_SECONDS = 20


def read(source: LiveSource, until: Callable[[list[Event]], bool], cursor: str | None = None) -> list[Event]:
    """The events behind a cursor until something is so, then the source is closed. After a while it ends anyhow, for the test to fail."""
    found: list[Event] = []
    end = clock.now() + _MOST_SECONDS
    with closing(source.events(cursor, 0.1)) as events:  # type: ignore[type-var]
        for event in events:
            found += [event] if event is not None else []
            if until(found) or clock.now() > end:
                break
    return found


def until(events: Iterator[Event | None], text: str) -> list[Event]:
    """The events up to the tweet that says this. One that never comes is a test that times out."""
    found: list[Event] = []
    for event in events:
        if event is not None:
            found.append(event)
            if event.tweet is not None and event.tweet.text == text:
                break
    return found


def lines(*texts: str) -> str:
    """JSON Lines of tweets that say these, each with its text for an id."""
    return "".join(json.dumps({"id": text, "text": text}) + "\n" for text in texts)


def tweets(events: list[Event]) -> list[str]:
    """The texts of tweets, in order."""
    return [event.tweet.text for event in events if event.tweet is not None]


def notices(events: list[Event]) -> Counter[str]:
    """How many notices there were of each kind."""
    return Counter(event.notice for event in events if event.notice is not None)
