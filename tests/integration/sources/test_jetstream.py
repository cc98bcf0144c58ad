"""Posts from Jetstream servers of both versions, whose connections break."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest

from producers.sources.live.jetstream.source import Jetstream
from producers.sources.live.registry import LiveOptions, open_live
from tests.support import openai_server
from tests.support.jetstream_server import BEGAN, Connection, account, commit, did, other, posts, serving
from tests.support.live import IMPATIENT, QUICK, notices, read, tweets
from tests.support.tls import Authority
from workers.errors import UserError
from workers.ingest.live import Deletion, Event
from workers.ingest.readers.errors import SourceError

WIRES = ("first", "second")
both_wires = pytest.mark.parametrize("wire", WIRES)


def source(server, wire="second", **options):
    """A source that reads one of the server's wires."""
    return Jetstream(getattr(server, wire), LiveOptions(**options), QUICK)


def has(count):
    """Whether so many tweets came."""
    return lambda events: len(tweets(events)) >= count


def texts(first, last):
    return [f"post number {seq}" for seq in range(first, last + 1)]


def moment(seq):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=BEGAN + seq * 1_000_000)


def rejections(events):
    return [(event.rejected.key, event.rejected.field, event.rejected.reason) for event in events if event.rejected]


@both_wires
def test_every_post_comes_once_in_order_wherever_the_connection_breaks(wire):
    with serving(posts(12)) as server:
        for cut in range(1, 13):
            # A connection that repeats the last event gets one event further only from the second frame on.
            server.next(*(Connection(cut_after=max(2, cut), half=cut % 2 == 0) for _ in range(11)))
            events = read(source(server, wire), has(12))
            assert tweets(events) == texts(1, 12), f"cut after {cut}"
            server.scripts.clear()


@both_wires
def test_a_restart_at_any_cursor_repeats_nothing_and_loses_nothing(wire):
    with serving(posts(9)) as server:
        whole = read(source(server, wire), has(9))
        for event in whole[:-1]:
            place = int(event.tweet.text.rpartition(" ")[2])
            assert tweets(read(source(server, wire), has(9 - place), event.cursor)) == texts(place + 1, 9)


def test_of_several_events_at_one_moment_a_restart_reads_those_that_are_left():
    log = posts(6)
    for entry in log[1:5]:
        entry.time_us = log[1].time_us
    with serving(log) as server:
        whole = read(source(server, "first"), has(6))
        for done in range(1, 6):
            assert tweets(read(source(server, "first"), has(6 - done), whole[done - 1].cursor)) == texts(done + 1, 6)


def test_both_versions_give_the_same_tweets():
    record = {"langs": ["en"], "reply": {"root": {"uri": "at://did:plc:root/app.bsky.feed.post/1"}}}
    with serving([commit(1, record=record)]) as server:
        first, second = (read(source(server, wire), has(1))[0].tweet for wire in WIRES)
    assert first == second
    assert first.id == f"at://{did(1)}/app.bsky.feed.post/key1"
    assert (first.author, first.lang, first.source) == (did(1), "en", "bluesky")
    assert first.conversation == "at://did:plc:root/app.bsky.feed.post/1"
    assert first.created_at == datetime(2025, 11, 24, 16, tzinfo=UTC)


def test_a_quote_belongs_to_the_post_that_it_quotes():
    quoted = {"uri": "at://did:plc:other/app.bsky.feed.post/2", "cid": "b"}
    with serving([commit(1, record={"embed": {"record": quoted}}), commit(2, record={"embed": {"record": {"record": quoted}}})]) as server:
        events = read(source(server), has(2))
    assert [event.tweet.conversation for event in events] == [quoted["uri"]] * 2


@both_wires
def test_only_posts_are_asked_for(wire):
    with serving(posts(1)) as server:
        read(source(server, wire), has(1))
        query = server.asked[0]
    if wire == "second":
        assert query["collections"] == ["app.bsky.feed.post"]
        assert query["kinds"] == ["commit", "account", "sync"]
        assert query["protocol"] == ["xrpc.v1.json"]
    else:
        assert query["wantedCollections"] == ["app.bsky.feed.post"]
    assert "cursor" not in query


def test_what_was_written_anew_and_taken_back_is_told():
    log = [
        commit(1),
        commit(2, "update", "key1"),
        commit(3, "delete", "key1"),
        account(4, 7, active=False, status="deleted"),
        account(5, 8, active=False, status="takendown"),
        other(6, "sync", 9),
        commit(7),
    ]
    with serving(log) as server:
        events = read(source(server), has(3))
    assert [event.revised for event in events if event.tweet] == [False, True, False]
    assert events[1].tweet.id == events[0].tweet.id
    gone = [event.deleted for event in events if event.deleted]
    synced = Deletion(author=did(9), resent=True)
    assert gone == [Deletion(events[0].tweet.id, did(1)), *(Deletion(author=did(author)) for author in (7, 8)), synced]


@pytest.mark.parametrize(
    ("record", "why"),
    [({"text": " ", "langs": ["en"]}, "post without text"), ({"text": "anders", "langs": ["de"]}, "other language"), ({"text": 7}, None)],
)
def test_what_a_later_version_took_away_is_taken_back(record, why):
    log = [commit(1), commit(2, "update", "key1", record=record), commit(3)]
    with serving(log) as server:
        events = read(source(server, languages=frozenset({"en"})), has(2))
    assert events[1].deleted == Deletion(events[0].tweet.id, did(1))
    assert (events[1].notice, events[1].rejected is None) == (why, why is not None)


@both_wires
def test_an_account_that_rests_or_moves_keeps_its_posts(wire):
    states = ("deactivated", "suspended", "throttled", "desynchronized", "strange\n")
    log = [account(seq, 7, active=False, status=status) for seq, status in enumerate(states, 1)]
    log += [account(6, 7, active=True), other(7, "identity"), commit(8)]
    with serving(log) as server:
        events = read(source(server, wire), has(1))
    assert [event.deleted for event in events if event.deleted] == []
    assert [event.reinstated for event in events if event.reinstated] == [did(7)], "it may have been gone"
    told = notices(events)
    assert told.pop("identity event", 0) == (1 if wire == "first" else 0)
    assert told == {
        "account deactivated": 1,
        "account suspended": 1,
        "account throttled": 1,
        "account desynchronized": 1,
        "account in an unknown state": 1,
        "account active": 1,
    }


@both_wires
def test_posts_in_other_languages_are_counted_and_left_out(wire):
    languages = [["en"], ["de"], None, ["ja", "en-GB"], [], ["deutsch"]]
    log = [commit(seq, record={"langs": tags} if tags is not None else {}) for seq, tags in enumerate(languages, 1)]
    with serving(log) as server:
        events = read(source(server, wire, languages=frozenset({"EN"})), lambda events: len(events) == 6)
    assert tweets(events) == [f"post number {seq}" for seq in (1, 3, 4, 5)]
    assert notices(events) == {"other language": 2}
    # Its cursor moves on all the same.
    assert json.loads(events[-1].cursor)["behind"] == 1


def test_posts_of_pictures_alone_are_no_rejected_rows():
    with serving([commit(1, record={"text": " "}), commit(2)]) as server:
        events = read(source(server), has(1))
    assert notices(events) == {"post without text": 1}
    assert rejections(events) == []


@both_wires
def test_malformed_frames_cost_themselves_alone_and_are_kept_with_their_place_and_reason(wire):
    long = json.dumps({"did": "d" * 300, "time_us": BEGAN, "kind": "identity"})
    bad: list[str | bytes] = [long, "{", "[1]", "7", "{}", b"\xff\x00", "{" * 5_000, '{"$type":"message","payload":[]}', '"\\ud800"']
    log = [commit(1), commit(2, record={"text": 7}), commit(3, record={"text": "a" * 200_000}), commit(4)]
    with serving(log) as server:
        server.next(Connection(before={1: bad}))
        events = read(source(server, wire), has(2))
    assert tweets(events) == ["post number 1", "post number 4"]
    found = rejections(events)
    assert len(found) == len(bad) + 2
    place = json.loads(events[0].cursor)["place"]
    assert {key for key, _, _ in found[: len(bad)]} == {f"after {place}"}
    assert found[-2][1:] == ("text", "the text is a number, not a string")
    assert found[-1][1] == "text"
    assert "aaa" not in str(found)
    assert [event.cursor for event in events[1 : len(bad) + 1]] == [events[0].cursor] * len(bad)


def test_a_frame_before_the_first_event_that_is_none_leaves_a_cursor_that_begins_anew():
    with serving(posts(2)) as server:
        server.next(Connection(before={0: ["nonsense"]}))
        events = read(source(server), has(2))
        again = read(source(server), has(2), events[0].cursor)
    assert rejections(events) == [("before the first", None, "the frame is not JSON")]
    assert tweets(again) == texts(1, 2)


@pytest.mark.parametrize("key", ["a\0b", "k" * 300, "", 7, None])
def test_a_record_whose_key_can_be_none_is_kept_as_rejected_also_where_it_is_deleted(key):
    log = [commit(1), commit(2, rkey=key), commit(3, "delete", rkey=key), commit(4, rkey="12.0"), commit(5, "delete", rkey="12.0")]
    with serving(log) as server:
        events = read(source(server), lambda events: len(events) == 5)
    assert [(place, field) for place, field, _ in rejections(events)] == [("2", "rkey"), ("3", "rkey")]
    assert events[4].deleted.tweet == events[3].tweet.id == f"at://{did(1)}/app.bsky.feed.post/12.0"


@both_wires
def test_frames_that_are_repeated_or_out_of_order_come_once(wire):
    order = [0, 1, 1, 3, 2, 0, 4, 5, 4]
    with serving(posts(6)) as server:
        server.next(Connection(order=order))
        events = read(source(server, wire), lambda events: len(events) == len(order))
    assert tweets(events) == [f"post number {seq}" for seq in (1, 2, 4, 3, 5, 6)]
    assert notices(events) == {"repetition": 3}
    places = [json.loads(event.cursor)["place"] for event in events]
    assert places == sorted(places)


@both_wires
def test_a_connection_that_stalls_is_left_and_made_anew(wire):
    with serving(posts(5)) as server:
        server.next(Connection(stall_after=2), Connection(stall_after=3))
        events = read(Jetstream(getattr(server, wire), LiveOptions(), IMPATIENT), has(5))
        assert len(server.asked) == 3
    assert tweets(events) == texts(1, 5)


def test_nothing_for_a_while_yields_none_and_closing_the_iterator_closes_the_connection():
    with serving(posts(1)) as server:
        events = source(server).events(None, 0.02)
        assert next(event for event in events if event is not None).tweet.text == "post number 1"
        assert next(events) is None
        assert server.open_now == 1
        events.close()
        for _ in range(200):
            if server.open_now == 0:
                break
            socket.create_connection(("127.0.0.1", server.port)).close()
        assert server.open_now == 0


def test_a_cursor_that_is_too_old_is_told_as_a_hole_and_reading_goes_on():
    with serving(posts(30)) as server:
        cursor = read(source(server), has(3))[-1].cursor
        server.floor = 20
        events = read(source(server), has(11), cursor)
        assert server.cursors[-2:] == [3, BEGAN + 1 * 1_000_000]  # the second one goes by time, a bit earlier
    hole = next(event for event in events if event.hole)
    assert (hole.hole.since, hole.hole.until) == (moment(3), moment(20))
    assert "OutdatedCursor" in hole.hole.reason
    assert tweets(events) == texts(20, 30)
    assert sum(event.hole is not None for event in events) == 1


def test_a_restart_at_the_cursor_of_a_hole_reads_the_first_event_behind_it():
    with serving(posts(30)) as server:
        cursor = read(source(server), has(3))[-1].cursor
        server.floor = 20
        hole = next(event for event in read(source(server), has(1), cursor) if event.hole)
        events = read(source(server), has(11), hole.cursor)
    assert tweets(events) == texts(20, 30)
    assert [event for event in events if event.hole] == []


def test_the_first_version_moves_an_old_cursor_without_a_word_and_the_hole_is_found_by_its_time():
    with serving(posts(30)) as server:
        cursor = read(source(server, "first"), has(3))[-1].cursor
        server.floor = 20
        events = read(source(server, "first"), has(11), cursor)
    hole = next(event.hole for event in events if event.hole)
    assert (hole.since, hole.until) == (moment(3), moment(20))
    assert "17 s" in hole.reason
    assert tweets(events) == texts(20, 30)


@both_wires
def test_a_quiet_network_is_no_hole(wire):
    with serving([commit(1), commit(2), commit(500)]) as server:
        cursor = read(source(server, wire), has(2))[-1].cursor
        events = read(source(server, wire), has(1), cursor)
    assert tweets(events) == ["post number 500"]
    assert [event.hole for event in events if event.hole] == []


@pytest.mark.parametrize(("before", "after"), [("first", "second"), ("second", "first")])
def test_the_cursor_of_another_version_goes_on_by_its_time_a_bit_earlier(before, after):
    with serving(posts(9)) as server:
        cursor = read(source(server, before), has(5))[4].cursor
        events = read(source(server, after), has(7), cursor)
        assert server.cursors[-1] == BEGAN + 3 * 1_000_000
    assert tweets(events) == texts(3, 9)


def test_the_cursor_of_another_server_goes_on_by_its_time_since_each_counts_for_itself():
    with serving(posts(9)) as old, serving([commit(seq + 1000, author=seq) for seq in range(1, 10)]) as new:
        for entry in new.log:
            entry.time_us -= 1000 * 1_000_000
        cursor = read(source(old), has(5))[4].cursor
        events = read(source(new), has(7), cursor)
    assert tweets(events) == texts(1003, 1009)
    assert json.loads(events[-1].cursor)["host"] == new.host
    assert [event.hole for event in events if event.hole] == []


def test_a_server_that_began_to_count_anew_is_gone_on_with_by_time():
    with serving([commit(seq + 1000, author=seq) for seq in range(1, 6)]) as server:
        for entry in server.log:
            entry.time_us -= 1000 * 1_000_000
        cursor = read(source(server), has(5))[-1].cursor
        server.log[:] = posts(9)
        events = read(source(server), has(7), cursor)
        assert server.cursors[-2:] == [1005, BEGAN + 3 * 1_000_000]
    assert tweets(events) == texts(3, 9)
    assert [event.hole for event in events if event.hole] == []


def test_a_consumer_that_is_too_slow_is_told_so_and_connects_again():
    slow = json.dumps({"$type": "error", "error": "ConsumerTooSlow", "message": "reconnect with cursor=3"})
    with serving(posts(6)) as server:
        server.next(Connection(before={3: [slow]}), Connection(before={2: [slow.replace("ConsumerTooSlow", "InternalError")]}))
        events = read(source(server), has(6))
    assert tweets(events) == texts(1, 6)
    assert notices(events) == {"consumer too slow": 1, "error of the server": 1, "connection": 2, "repetition": 2}


@both_wires
def test_a_frame_over_the_bound_is_kept_as_rejected_and_left_out_by_the_server_from_then_on(wire):
    log = [commit(1), commit(2, record={"text": "b" * 9_000}), commit(3)]
    with serving(log) as server:
        events = read(Jetstream(getattr(server, wire), LiveOptions(), QUICK, longest=4_096), has(2))
        assert server.asked[-1]["maxMessageSizeBytes"] == ["4096"]
    assert tweets(events) == ["post number 1", "post number 3"]
    assert [reason for _, _, reason in rejections(events)] == ["the frame is longer than 4096 bytes"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_a_status_that_may_pass_is_tried_again(status):
    with serving(posts(2)) as server:
        server.next(*[Connection(status=status)] * 2)
        assert tweets(read(source(server), has(2))) == texts(1, 2)
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("status", "error", "advice"),
    [
        (400, "InvalidRequest", "refuses what it was asked for (HTTP 400 InvalidRequest): check that the address is that of its version"),
        (400, "not a name <b>", "(HTTP 400): check"),
        (401, None, "refuses the connection (HTTP 401 InvalidRequest): take another server"),
        (403, None, "refuses the connection (HTTP 403 InvalidRequest): take another server"),
        (404, None, "has no Jetstream at this path (HTTP 404 InvalidRequest): check the address"),
    ],
)
def test_a_status_that_does_not_pass_ends_with_advice(status, error, advice):
    with serving(posts(2)) as server:
        server.next(Connection(status=status, error=error))
        with pytest.raises(SourceError) as raised:
            read(source(server), has(2))
        assert len(server.asked) == 1
    assert advice in str(raised.value)
    assert str(raised.value).startswith(server.host)


def test_a_server_that_was_never_there_is_given_up_and_one_that_was_is_not():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"ws://127.0.0.1:{free.getsockname()[1]}/subscribe"
    gone = Jetstream(address, LiveOptions(), QUICK)
    with pytest.raises(SourceError, match=r"can't be reached .*check the address and the network"):
        read(gone, has(1))
    cursor = json.dumps({"wire": 1, "host": address[5:-10], "place": BEGAN, "behind": 1, "time_us": BEGAN})
    events = gone.events(cursor, 0.05)
    assert [next(events) for _ in range(5)] == [None] * 5
    events.close()


def test_a_certificate_that_nobody_vouches_for_ends_it_at_once(tmp_path):
    context = Authority.create(tmp_path / "authority").context_for("localhost")
    with serving(posts(1), context=context) as server, pytest.raises(SourceError, match=r"the certificate of localhost:.* is not trusted"):
        read(Jetstream(f"wss://localhost:{server.port}/subscribe", LiveOptions(), QUICK), has(1))


def test_a_server_of_something_else_is_no_jetstream():
    with openai_server.serving(openai_server.always(openai_server.Answer())) as server:
        address = server.url.replace("http", "ws").replace("/v1", "/subscribe")
        with pytest.raises(SourceError, match=r"does not answer as a WebSocket does \(HTTP 200\): check"):
            read(Jetstream(address, LiveOptions(), QUICK), has(1))


@pytest.mark.parametrize("cursor", ["", "17", "{}", '{"wire": 2, "host": "h", "place": -1, "behind": 1, "time_us": 5}', '{"line": 3}'])
def test_the_cursor_of_another_source_is_refused(cursor):
    with serving(posts(1)) as server, pytest.raises(SourceError, match="give the stream another name"):
        read(source(server), has(1), cursor)


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("wss://host.example/other", "this is not the address of a Jetstream: write bluesky, or wss://HOST/xrpc"),
        ("wss://user:secret@host.example/subscribe", "write the address without a login, as wss://HOST"),
        ("wss://host.example/subscribe?cursor=7", "without parameters"),
        ("wss://host.example:port/subscribe", "a host or port that is none"),
        ("wss:///subscribe", "write the address without a login, as wss://HOST"),
    ],
)
def test_an_address_that_is_none_is_told_how_to_write_it(address, advice):
    with pytest.raises(UserError) as raised:
        open_live(address, LiveOptions())
    assert advice in str(raised.value)
    assert "secret" not in str(raised.value)


def test_bluesky_is_the_second_version_at_its_public_server():
    found = open_live("bluesky", LiveOptions())
    assert isinstance(found, Jetstream)
    assert not found.waits
    assert found.origin == "wss://jetstream.us-east.bsky.network/xrpc/network.bsky.jetstream.subscribeEvents"


def test_a_thousand_events_are_read_ahead_in_bounded_steps():
    with serving(posts(1_000)) as server:
        events: list[Event] = read(source(server), has(1_000))
    assert tweets(events) == texts(1, 1_000)
