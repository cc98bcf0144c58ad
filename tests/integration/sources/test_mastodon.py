"""Posts from a server of Mastodon whose streams break, and whose timeline has what was missed."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from producers.sources.live.mastodon.source import Mastodon
from producers.sources.live.registry import LiveOptions, open_live
from tests.support.http_stream_server import Reply, Request, answer, serving
from tests.support.live import IMPATIENT, QUICK, notices, read, tweets
from tests.support.tls import Authority
from workers.errors import UserError
from workers.ingest.live import Deletion
from workers.ingest.readers.errors import SourceError
from workers.settings import get_settings

PUBLIC = "/api/v1/streaming/public"
TOKEN = "token-of-a-test"


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    monkeypatch.delenv("MASTODON_ACCESS_TOKEN", raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("MASTODON_ACCESS_TOKEN", TOKEN)
    get_settings.cache_clear()
    return TOKEN


def status(number, **more):
    """A post as the API has it."""
    return {
        "id": str(110_000_000_000_000_000 + number),
        "created_at": f"2025-11-24T16:{number // 60:02d}:{number % 60:02d}.000Z",
        "content": f"<p>post number {number}</p>",
        "language": "en",
        "visibility": "public",
        "spoiler_text": "",
        "in_reply_to_id": None,
        "reblog": None,
        "account": {"acct": "somebody@other.example", "bot": False},
    } | more


def event(name, payload):
    data = payload if isinstance(payload, str) else json.dumps(payload)
    return f"event: {name}\ndata: {data}\n\n".encode()


def update(number, **more):
    return event("update", status(number, **more))


@dataclass
class Instance:
    """A server's state: posts of its timeline, and what each connection to its stream sends."""

    timeline: list[dict] = field(default_factory=list)
    streams: deque[Reply] = field(default_factory=deque)
    refusal: int | None = None
    moved: str | None = None

    def __call__(self, request: Request) -> Reply:
        if request.path == "/api/v1/streaming":
            return Reply(301, {"location": self.moved}) if self.moved else Reply(404)
        if request.path.startswith("/api/v1/streaming/"):
            reply = self.streams.popleft() if self.streams else Reply(end="hold")
            reply.headers.setdefault("content-type", "text/event-stream")
            return reply
        if self.refusal:
            return Reply(self.refusal)
        newer = [post for post in self.timeline if int(post["id"]) > int(request.query["min_id"])]
        return answer(list(reversed(newer[: int(request.query["limit"])])))


def source(server, path=PUBLIC, patience=QUICK, **more):
    options = {name: more.pop(name) for name in ("name", "languages") if name in more}
    return Mastodon(f"http://{server.host}{path}", LiveOptions(**options), patience, **more)


def has(count):
    return lambda events: len(tweets(events)) >= count


def texts(first, last):
    return [f"post number {number}" for number in range(first, last + 1)]


def rejections(events):
    return [(event.rejected.key, event.rejected.field, event.rejected.reason) for event in events if event.rejected]


@pytest.mark.parametrize("cut", range(1, 90, 7))
def test_every_post_comes_once_in_order_wherever_the_stream_breaks(cut):
    instance = Instance([status(number) for number in range(1, 11)])
    whole = b"".join(update(number) for number in range(1, 11))
    # The first post comes whole, or there is no cursor to catch up from.
    first = len(update(1))
    instance.streams.extend([Reply(parts=[whole[: first + cut * 20]], end="cut"), Reply(parts=[update(10), update(11)], end="hold")])
    with serving(instance) as server:
        events = read(source(server), has(11))
    assert tweets(events) == texts(1, 11)


def test_what_was_missed_is_caught_up_page_by_page_before_the_stream_goes_on():
    instance = Instance([status(number) for number in range(1, 100)])
    instance.streams.extend([Reply(parts=[update(1)], end="cut"), Reply(parts=[update(99), update(100)], end="hold")])
    with serving(instance) as server:
        events = read(source(server), has(100))
        pages = server.to("/api/v1/timelines/public")
    assert tweets(events) == texts(1, 100)
    assert [page.query["min_id"][-3:] for page in pages] == ["001", "041", "081", "099"]
    assert {page.query["limit"] for page in pages} == {"40"}
    assert notices(events) == {"connection": 1, "repetition": 1}


def test_a_restart_at_any_cursor_repeats_nothing_and_loses_nothing():
    instance = Instance([status(number) for number in range(1, 8)])
    instance.streams.append(Reply(parts=[update(number) for number in range(1, 8)], end="hold"))
    with serving(instance) as server:
        whole = read(source(server), has(7))
        for done, last in enumerate(whole[:-1], 1):
            assert tweets(read(source(server), has(7 - done), last.cursor)) == texts(done + 1, 7)


def test_a_post_has_the_fields_of_a_tweet_and_an_id_that_no_other_server_has():
    said = status(1, in_reply_to_id="109", content="<p>a &amp; b<br>c</p><p>d</p>", account={"acct": "local"})
    instance = Instance(streams=deque([Reply(parts=[event("update", said)], end="hold")]))
    with serving(instance) as server:
        tweet = read(source(server, name="mine"), has(1))[0].tweet
    assert tweet.id == f"{server.host}/110000000000000001"
    assert tweet.text == "a & b\nc\n\nd"
    assert tweet.author == f"local@{server.host}"
    assert (tweet.source, tweet.lang, tweet.conversation) == ("mine", "en", f"{server.host}/109")
    assert tweet.created_at == datetime(2025, 11, 24, 16, 0, 1, tzinfo=UTC)


def test_edits_and_deletions_are_followed():
    parts = [update(1), event("status.update", status(1, content="<p>anew</p>", edited_at="2025-11-25T00:00:00Z")), update(2)]
    parts += [event("delete", "110000000000000001")]
    instance = Instance(streams=deque([Reply(parts=parts, end="hold")]))
    with serving(instance) as server:
        events = read(source(server), lambda events: len(events) == 4)
    assert [(event.tweet.text, event.revised) for event in events[:3]] == [
        ("post number 1", False),
        ("anew", True),
        ("post number 2", False),
    ]
    assert events[1].tweet.id == events[0].tweet.id
    assert events[3].deleted == Deletion(events[0].tweet.id)


@pytest.mark.parametrize(
    ("edited", "why"),
    [
        ({"content": "<p></p>"}, "post without text"),
        ({"language": "de"}, "other language"),
        ({"visibility": "private"}, "post that is not public"),
        ({"content": 7}, None),
    ],
)
def test_what_an_edit_took_away_is_taken_back(edited, why):
    anew = event("status.update", status(1, edited_at="2025-11-25T00:00:00Z", **edited))
    never_taken = event("status.update", status(2, account={"acct": "a", "bot": True}))
    instance = Instance(streams=deque([Reply(parts=[update(1), anew, never_taken], end="hold")]))
    with serving(instance) as server:
        events = read(source(server, languages=frozenset({"en"})), lambda events: len(events) == 3)
    assert events[1].deleted == Deletion(events[0].tweet.id)
    assert (events[1].notice, events[1].rejected is None) == (why, why is not None)
    assert (events[2].deleted, events[2].notice) == (None, "post of a bot")


def test_a_content_warning_stands_above_its_post():
    instance = Instance(streams=deque([Reply(parts=[update(1, spoiler_text="spiders")], end="hold")]))
    with serving(instance) as server:
        assert tweets(read(source(server), has(1))) == ["spiders\n\npost number 1"]


def test_what_is_no_post_of_a_person_is_counted_by_its_kind():
    parts = [
        b":)\n",
        update(1, account={"acct": "a", "bot": True}),
        update(2, reblog=status(1)),
        update(3, visibility="private"),
        update(4, language="de"),
        update(5, language=None),
        update(6, content="<p></p>"),
        b":thump\n",
        event("notification", {"id": "1"}),
        event("filters_changed", "undefined"),
        event("strange\t", "x"),
        update(7),
    ]
    instance = Instance(streams=deque([Reply(parts=parts, end="hold")]))
    with serving(instance) as server:
        events = read(source(server, languages=frozenset({"en"})), has(2))
    assert tweets(events) == ["post number 5", "post number 7"]
    assert notices(events) == {
        "post of a bot": 1,
        "boost": 1,
        "post that is not public": 1,
        "other language": 1,
        "post without text": 1,
        "notification": 1,
        "filters_changed": 1,
        "event of an unknown kind": 1,
    }


def test_malformed_events_cost_themselves_alone_and_are_kept_with_their_place_and_reason():
    bad = ["{", "[1]", "7", "{}", '{"id": 1.5}', "{" * 5_000]
    parts = [update(1), *(event("update", each) for each in bad), event("delete", ""), update(2, content=7), update(3)]
    instance = Instance(streams=deque([Reply(parts=parts, end="hold")]))
    with serving(instance) as server:
        events = read(source(server), has(2))
    assert tweets(events) == ["post number 1", "post number 3"]
    found = rejections(events)
    assert len(found) == len(bad) + 2
    assert {key for key, _, _ in found[:-1]} == {"after 110000000000000001"}
    assert found[-1] == ("110000000000000002", "text", "the text is a number, not a string")


def test_posts_out_of_order_come_once_and_the_cursor_never_goes_back():
    instance = Instance(streams=deque([Reply(parts=[update(number) for number in (1, 3, 2, 3, 4)], end="hold")]))
    with serving(instance) as server:
        events = read(source(server), has(4))
    assert tweets(events) == [f"post number {number}" for number in (1, 3, 2, 4)]
    newest = [int(json.loads(event.cursor)["id"]) for event in events]
    assert newest == sorted(newest)


def test_a_stream_that_stalls_or_ends_is_left_and_made_anew():
    instance = Instance([status(number) for number in range(1, 6)])
    instance.streams.extend([Reply(parts=[update(1)], end="hold"), Reply(parts=[update(4)]), Reply(parts=[update(5)], end="hold")])
    with serving(instance) as server:
        assert tweets(read(source(server, patience=IMPATIENT), has(5))) == texts(1, 5)


def test_an_event_over_the_bound_is_kept_as_rejected_and_reading_goes_on():
    instance = Instance([status(1)])
    huge = update(2, content="<p>" + "x" * 400_000 + "</p>")
    instance.streams.extend([Reply(parts=[update(1), huge], end="hold"), Reply(parts=[update(3)], end="hold")])
    with serving(instance) as server:
        events = read(source(server, longest=20_000), has(2))
    assert tweets(events) == ["post number 1", "post number 3"]
    assert rejections(events) == [("after 110000000000000001", None, "the event is longer than 20000 bytes")]


@pytest.mark.parametrize("refusal", [401, 403, 404, 422])
def test_a_timeline_that_can_not_be_read_is_a_hole(refusal):
    instance = Instance([status(number) for number in range(1, 6)], refusal=refusal)
    instance.streams.extend([Reply(parts=[update(1)], end="cut"), Reply(parts=[update(5)], end="hold")])
    with serving(instance) as server:
        events = read(source(server), has(2))
    hole = next(event.hole for event in events if event.hole)
    assert (hole.since.second, hole.until.second) == (1, 5)
    assert f"HTTP {refusal}" in hole.reason
    assert tweets(events) == ["post number 1", "post number 5"]


def test_more_than_is_caught_up_at_most_is_a_hole():
    instance = Instance([status(number) for number in range(1, 200)])
    instance.streams.extend([Reply(parts=[update(1)], end="cut"), Reply(parts=[update(200)], end="hold")])
    with serving(instance) as server:
        events = read(source(server, most_pages=2), has(82))
    assert tweets(events) == [*texts(1, 81), "post number 200"]
    assert "more than 80 posts" in next(event.hole.reason for event in events if event.hole)


def test_a_timeline_that_gives_the_same_page_again_and_again_ends():
    class Stubborn(Instance):
        def __call__(self, request: Request) -> Reply:
            return answer([status(2)]) if "timelines" in request.path else super().__call__(request)

    instance = Stubborn(streams=deque([Reply(parts=[update(1)], end="cut"), Reply(parts=[update(3)], end="hold")]))
    with serving(instance) as server:
        assert tweets(read(source(server), has(3))) == texts(1, 3)
        assert len(server.to("/api/v1/timelines/public")) == 2


@pytest.mark.parametrize("page", [b"{", b"{}", b"\xff", b"[" * 100_000])
def test_a_page_that_is_none_is_a_hole(page):
    class Odd(Instance):
        def __call__(self, request: Request) -> Reply:
            return Reply(parts=[page]) if "timelines" in request.path else super().__call__(request)

    instance = Odd(streams=deque([Reply(parts=[update(1)], end="cut"), Reply(parts=[update(3)], end="hold")]))
    with serving(instance) as server:
        events = read(source(server), has(2))
    assert sum(event.hole is not None for event in events) == 1


@pytest.mark.parametrize(
    ("path", "timeline", "query"),
    [
        (f"{PUBLIC}/local", "/api/v1/timelines/public", {"local": "true"}),
        (f"{PUBLIC}/remote", "/api/v1/timelines/public", {"remote": "true"}),
        ("/api/v1/streaming/hashtag?tag=caf%C3%A9", "/api/v1/timelines/tag/caf%C3%A9", {}),
        ("/api/v1/streaming/hashtag/local?tag=a", "/api/v1/timelines/tag/a", {"local": "true"}),
    ],
)
def test_each_stream_is_caught_up_by_its_own_timeline(path, timeline, query):
    instance = Instance([status(1), status(2)], deque([Reply(parts=[update(1)], end="cut")]))
    with serving(instance) as server:
        assert tweets(read(source(server, path), has(2))) == texts(1, 2)
        stream, page = server.to(path.partition("?")[0])[0], server.to(timeline)[0]
    assert query.items() <= page.query.items()
    assert ("tag" in stream.query) == ("hashtag" in path)


def test_the_token_goes_along_and_to_the_host_that_serves_the_streams(token):
    streams = Instance(streams=deque([Reply(parts=[update(1)], end="hold")]))
    with serving(streams) as there, serving(Instance(moved=f"http://{there.host}/api/v1/streaming")) as server:
        assert tweets(read(source(server), has(1))) == texts(1, 1)
        assert there.to(PUBLIC)[0].headers["authorization"] == f"Bearer {token}"
        assert server.to(PUBLIC) == []


def test_a_token_is_never_sent_unencrypted(token):
    with pytest.raises(SourceError, match="unencrypted: write https://") as raised:
        Mastodon("http://social.example/api/v1/streaming/public", LiveOptions(), QUICK)
    assert token not in str(raised.value)
    with serving(Instance(moved="http://social.example/api/v1/streaming")) as server, pytest.raises(SourceError, match="unencrypted"):
        read(source(server), has(1))


def test_without_a_token_a_server_that_asks_for_one_ends_it_with_advice():
    with (
        serving(Instance(streams=deque([Reply(401)]))) as server,
        pytest.raises(SourceError, match=r"asks for a token .*MASTODON_ACCESS_TOKEN"),
    ):
        read(source(server), has(1))


def test_a_token_that_is_refused_ends_it_with_advice_and_is_not_told(token):
    with serving(Instance(streams=deque([Reply(403)]))) as server, pytest.raises(SourceError, match="refuses the token") as raised:
        read(source(server), has(1))
    assert token not in str(raised.value)


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_status_that_may_pass_is_tried_again(code):
    with serving(Instance(streams=deque([Reply(code), Reply(code), Reply(parts=[update(1)], end="hold")]))) as server:
        assert tweets(read(source(server), has(1))) == texts(1, 1)


def test_a_server_that_never_serves_its_stream_is_given_up():
    with serving(Instance(streams=deque([Reply(503)] * 9))) as server, pytest.raises(SourceError, match="does not serve its stream"):
        read(source(server), has(1))


@pytest.mark.parametrize(
    ("reply", "advice"), [(Reply(404), "has no such stream"), (Reply(200, {"content-type": "text/html"}), "stream of events")]
)
def test_what_is_no_stream_ends_with_advice(reply, advice):
    with serving(Instance(streams=deque([reply]))) as server, pytest.raises(SourceError, match=advice):
        read(source(server), has(1))


def test_a_certificate_that_nobody_vouches_for_ends_it_at_once(tmp_path):
    context = Authority.create(tmp_path / "authority").context_for("localhost")
    with serving(Instance(), context) as server:
        secured = Mastodon(f"https://localhost:{server.port}{PUBLIC}", LiveOptions(), QUICK)
        with pytest.raises(SourceError, match=r"the certificate of localhost:\d+ is not trusted"):
            read(secured, has(1))


def test_a_server_that_was_never_there_is_given_up():
    with serving(Instance()) as server:
        gone = source(server)
    with pytest.raises(SourceError, match=r"can't be reached \(.*\): check the address and the network"):
        read(gone, has(1))


def test_the_cursor_of_another_server_is_refused():
    with serving(Instance()) as server:
        for cursor in ('{"host": "other.example", "id": "1", "time_us": 1}', "{", "[]", '{"host": 1}', '{"wire": 2}'):
            with pytest.raises(SourceError, match="give the stream another name"):
                read(source(server), has(1), cursor)


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("https://social.example/api/v1/streaming/user", "this is not the address of a public stream"),
        ("https://social.example/api/v1/streaming/hashtag", "name the hashtag as"),
        ("https://social.example/api/v1/streaming/public?access_token=secret", "leave out what stands behind"),
        ("https://me:secret@social.example/api/v1/streaming/public", "without a login"),
        ("https://social.example:x/api/v1/streaming/public", "a host or port that is none"),
    ],
)
def test_an_address_that_is_none_is_told_how_to_write_it(address, advice):
    with pytest.raises(UserError) as raised:
        open_live(address, LiveOptions())
    assert advice in str(raised.value)
    assert "secret" not in str(raised.value)
