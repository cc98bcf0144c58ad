"""One process at a time reads a stream."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import pytest
from sqlalchemy import Engine

from producers.sources.live.registry import goes_on
from tasks import streams
from tests.support.streams import add_model, arrivals, begin, rows, tweet
from workers.database import transaction
from workers.errors import UserError
from workers.streams import arrivals as store
from workers.streams import holding
from workers.streams.holding import NewStream, StreamLost


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    add_model(clean_database)
    return clean_database


def owned_by(engine: Engine, **changed: object) -> None:
    """Let another process hold the stream."""
    [(owner,)] = rows(engine, "SELECT owner FROM stream")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stream SET owner = %s", (json.dumps({**json.loads(owner), **changed}),))


def test_a_second_process_is_refused_with_what_to_do(engine: Engine):
    begin()
    with pytest.raises(UserError, match=r"stream club is read by process \d+ on .*another --name"):
        begin()
    begin("other")


def test_a_stream_that_was_given_back_is_taken_at_once_and_goes_on_behind_its_cursor(engine: Engine):
    held = begin()
    with transaction() as connection:
        store.store(connection, held, [tweet("a")])
    streams.end(held, "stopped")
    assert begin().cursor == "a"


def test_a_killed_process_of_this_machine_need_not_be_waited_for(engine: Engine):
    held = begin()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owned_by(engine, pid=dead.pid)
    again = begin()
    assert again.job == held.job, "shards go on under the same parent"


def test_a_process_elsewhere_holds_its_stream_until_its_lease_ends(engine: Engine):
    begin()
    owned_by(engine, where="another machine", pid=1)
    with pytest.raises(UserError, match="its hold ends in"):
        begin()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stream SET lease_until = now() - interval '1 second'")
    begin()


def test_a_lease_is_prolonged_only_by_its_owner(engine: Engine):
    held = begin()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stream SET lease_until = now()")
    with transaction() as connection:
        holding.renew(connection, held)
    assert rows(engine, "SELECT lease_until > now() + interval '20 seconds' FROM stream") == [(True,)]
    owned_by(engine, start="another")
    with pytest.raises(StreamLost), transaction() as connection:
        holding.renew(connection, held)


def test_another_address_needs_another_name_or_a_new_start(engine: Engine):
    held = begin()
    with transaction() as connection:
        store.store(connection, held, [tweet("a")])
    streams.end(held, "stopped")
    with pytest.raises(UserError, match=r"was read from scripted so far: .*--from-start"):
        begin(address="elsewhere")
    assert begin(address="elsewhere", from_start=True).cursor is None
    assert arrivals(engine) == [(1, "a")]


def test_but_not_where_the_cursor_of_the_one_counts_for_the_other(engine: Engine):
    before, now = "wss://one.example/subscribe", "wss://other.example/subscribe"
    held = begin(address=before)
    with transaction() as connection:
        store.store(connection, held, [tweet("a")])
    streams.end(held, "stopped")
    asked = NewStream("club", now, "echoed", {}, partial(goes_on, now))
    held = streams.start(asked)
    assert held.cursor == "a"
    streams.end(held, "stopped")
    with pytest.raises(UserError, match="was read from"):
        begin(address="tweets.jsonl")


@pytest.mark.parametrize("other", ["tweets.jsonl", "-", "https://mastodon.example/api/v1/streaming/public"])
def test_only_servers_of_bluesky_have_the_same_posts(other: str):
    assert goes_on("bluesky", "wss://one.example/subscribe")
    assert not goes_on("bluesky", other)
    assert not goes_on(other, "wss://one.example/subscribe")
