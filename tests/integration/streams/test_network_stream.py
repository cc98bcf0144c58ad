"""A stream of posts from a Jetstream server whose connections break: each is stored and summarised once, and what is taken back goes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from producers.sources.live.jetstream.source import Jetstream
from producers.sources.live.registry import LiveOptions
from producers.streaming.loop import Plan, StreamLoop
from tests.integration.in_process import work_off
from tests.support.jetstream_server import BEGAN, Connection, account, commit, did, posts, serving
from tests.support.live import QUICK
from tests.support.streams import ECHO, add_model, begin, rows
from workers.ingest.live import Event
from workers.settings import get_settings
from workers.streams.micro_batches import Limits

PLAN = Plan(Limits(batch=5, max_tokens=10_000, max_age=0.0, in_flight=100), spool=1_000, guard=True)


@pytest.fixture
def engine(clean_database: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("TWEETMILL_ENGINE", ECHO["TWEETMILL_ENGINE"])
    get_settings.cache_clear()
    add_model(clean_database)
    yield clean_database
    get_settings.cache_clear()


def read_up_to(address: str, seq: int) -> list[Event]:
    """Run the stream from where it was left until the event of this number came; what was noticed on the way."""
    seen: list[Event] = []

    def has_come() -> bool:
        time_us = json.loads(seen[-1].cursor)["time_us"] if seen else None
        return time_us is not None and time_us >= BEGAN + seq * 1_000_000

    source = Jetstream(address, LiveOptions(), QUICK)
    StreamLoop(source, begin(), PLAN, stopping=has_come, show=lambda: None, on_event=seen.append).run()
    return seen


@pytest.mark.parametrize("wire", ["first", "second"])
def test_posts_are_stored_once_through_breaks_and_restarts_and_deletions_leave_nothing(engine: Engine, wire: str):
    log = [*posts(12), commit(13, "delete", "key3", author=3), account(14, 5, active=False, status="deleted"), *posts(4, first=15)]
    with serving(log) as server:
        address = getattr(server, wire)
        for stop_at in (4, 9, 18):
            server.next(Connection(cut_after=3), Connection(cut_after=2, half=True))
            read_up_to(address, stop_at)
        work_off(engine)
        wanted = {f"at://{did(seq)}/app.bsky.feed.post/key{seq}" for seq in (*range(1, 13), *range(15, 19))} - {
            f"at://{did(seq)}/app.bsky.feed.post/key{seq}" for seq in (3, 5)
        }
        assert {tweet for (tweet,) in rows(engine, "SELECT id FROM tweet")} == wanted
        assert sorted(tweet for (tweet,) in rows(engine, "SELECT tweet FROM summary")) == sorted(wanted)
        assert rows(engine, "SELECT sum(tweets)::int FROM stream_shard") == [(16,)]


def test_a_hole_is_told_and_the_rest_is_stored(engine: Engine):
    with serving(posts(30)) as server:
        read_up_to(server.second, 3)
        server.floor = 20
        seen = read_up_to(server.second, 30)
    assert [event.hole.until for event in seen if event.hole] == [next(event.moment for event in seen if event.tweet)]
    assert rows(engine, "SELECT count(*) FROM tweet") == [(14,)]
    assert rows(engine, "SELECT count(*) FROM job_event WHERE event = 'hole'") == [(1,)]
