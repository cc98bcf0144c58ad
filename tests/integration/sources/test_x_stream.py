"""Posts from X's filtered stream, which charges for each, keeps nothing back, and asks for pauses."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from producers.sources.live.registry import LiveOptions, open_live
from producers.sources.live.x_api.source import Backoff, XStream
from tests.support.http_stream_server import Reply, Request, answer, serving
from tests.support.live import IMPATIENT, QUICK, notices, read, tweets
from workers.errors import SettingsError, UserError
from workers.ingest.live import Deletion
from workers.ingest.readers.errors import SourceError
from workers.settings import get_settings

STREAM = "/2/tweets/search/stream"
RULES = f"{STREAM}/rules"
TOKEN = "bearer-of-a-test"
BRIEF = Backoff(network=0.005, network_longest=0.02, http=0.01, http_longest=0.03, rate=0.02, rate_longest=0.05)


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("X_BEARER_TOKEN", TOKEN)
    monkeypatch.delenv("TWEETMILL_X_POST_USD", raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def post(number, includes=None, **more):
    """A line of the stream."""
    data = {
        "id": str(1_990_000_000_000_000_000 + number),
        "text": f"post number {number}",
        "author_id": "42",
        "conversation_id": "1990000000000000000",
        "created_at": f"2025-11-24T16:{number // 60:02d}:{number % 60:02d}.000Z",
        "lang": "en",
        "edit_history_tweet_ids": [str(1_990_000_000_000_000_000 + number)],
    }
    document = {"data": data | more, "matching_rules": [{"id": "1", "tag": "tweetmill"}]}
    return json.dumps(document | ({"includes": includes} if includes else {})).encode() + b"\r\n"


def problem(kind, title="operational-disconnect"):
    address = f"https://api.x.com/2/problems/{kind}"
    return json.dumps({"errors": [{"title": title, "disconnect_type": "OperationalDisconnect", "type": address}]}).encode() + b"\r\n"


@dataclass
class Api:
    """The API's state: its rules, and what each connection to the stream sends."""

    streams: deque[Reply] = field(default_factory=deque)
    rules: list[dict[str, str]] = field(default_factory=lambda: [{"id": "1", "value": "cats", "tag": "tweetmill"}])
    refusals: deque[int] = field(default_factory=deque)
    invalid: str = "nonsense("

    def __call__(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(401)
        if self.refusals:
            return Reply(self.refusals.popleft())
        if request.path == STREAM:
            return self.streams.popleft() if self.streams else Reply(end="hold")
        if request.method == "GET":
            return answer({"data": self.rules, "meta": {"result_count": len(self.rules)}} if self.rules else {"meta": {"result_count": 0}})
        return self._change(request.json())

    def _change(self, change: dict) -> Reply:
        if "delete" in change:
            self.rules[:] = [rule for rule in self.rules if rule["id"] not in change["delete"]["ids"]]
            return answer({"meta": {"summary": {"deleted": len(change["delete"]["ids"]), "not_deleted": 0}}})
        values = [rule["value"] for rule in change["add"]]
        if self.invalid in values:
            error = {"value": self.invalid, "details": ["no viable alternative at character '('\x1b"], "title": "Invalid Rule"}
            return answer({"meta": {"summary": {"created": 0, "not_created": 1, "invalid": 1}}, "errors": [error]})
        self.rules += [{"id": str(len(self.rules) + 7), "value": rule["value"], "tag": rule["tag"]} for rule in change["add"]]
        return answer({"data": change["add"], "meta": {"summary": {"created": len(values), "not_created": 0}}}, 201)


def source(server, rules=("cats",), max_usd=100.0, longest=2**20, patience=QUICK, **options):
    return XStream(f"http://{server.host}{STREAM}", LiveOptions(rules=rules, max_usd=max_usd, **options), patience, BRIEF, longest)


def has(count):
    return lambda events: len(tweets(events)) >= count


def texts(first, last):
    return [f"post number {number}" for number in range(first, last + 1)]


def holding(*parts):
    return Reply(parts=list(parts), end="hold")


def rejections(events):
    return [(event.rejected.key, event.rejected.field, event.rejected.reason) for event in events if event.rejected]


def until_it_ends(source, cursor=None):
    """The events before the error that ends it, and what that says."""
    found = []
    try:
        for event in source.events(cursor, 0.1):
            found += [event] if event else []
    except SourceError as error:
        return found, str(error)
    raise AssertionError("it ended without an error")


@pytest.mark.parametrize("cut", range(0, 700, 63))
def test_a_post_comes_whole_or_not_at_all_wherever_the_connection_breaks(cut):
    whole = b"".join(post(number) for number in range(1, 4))
    api = Api(deque([Reply(parts=[whole[:cut]], end="cut"), holding(post(4))]))
    with serving(api) as server:
        events = read(source(server), lambda events: "post number 4" in tweets(events))
    complete = whole[:cut].count(b"\n")
    assert tweets(events) == [*texts(1, complete), "post number 4"]
    assert rejections(events) == []


def test_what_is_written_without_a_connection_is_told_as_a_hole_after_a_break_and_after_a_restart():
    api = Api(deque([Reply(parts=[post(1), post(2)], end="cut"), holding(post(5), post(6)), holding(post(9))]))
    with serving(api) as server:
        events = read(source(server), has(4))
        again = read(source(server), has(1), events[-1].cursor)
    holes = [event.hole for event in [*events, *again] if event.hole]
    assert [(hole.since.second, hole.until.second) for hole in holes] == [(2, 5), (6, 9)]
    assert events[0].hole is None


def test_a_post_has_the_fields_of_a_tweet():
    with serving(Api(deque([holding(post(1))]))) as server:
        tweet = read(source(server, name="mine"), has(1))[0].tweet
        query = server.to(STREAM)[0].query
    assert (tweet.id, tweet.author, tweet.lang, tweet.source) == ("1990000000000000001", "42", "en", "mine")
    assert tweet.conversation == "1990000000000000000"
    assert tweet.created_at == datetime(2025, 11, 24, 16, 0, 1, tzinfo=UTC)
    assert {"note_tweet", "created_at", "author_id", "edit_history_tweet_ids"} <= set(query["tweet.fields"].split(","))
    assert query["expansions"] == "referenced_tweets.id"


def test_a_long_text_and_the_text_of_a_retweet_are_whole():
    long = {"note_tweet": {"text": "the whole long text"}}
    original = {"id": "17", "text": "all that the other one wrote"}
    retweet = {"text": "RT @other: all that the oth…", "referenced_tweets": [{"type": "retweeted", "id": "17"}]}
    parts = [post(1, **long), post(2, {"tweets": [original]}, **retweet)]
    with serving(Api(deque([holding(*parts)]))) as server:
        events = read(source(server), has(2))
    assert tweets(events) == ["the whole long text", "RT @other: all that the other one wrote"]
    assert json.loads(events[-1].cursor)["posts"] == 3


@pytest.mark.parametrize(("edited", "why"), [({"lang": "de"}, "other language"), ({"text": 7}, None)])
def test_what_a_later_version_took_away_is_taken_back(edited, why):
    first = post(1)
    history = [json.loads(first)["data"]["id"], json.loads(post(2))["data"]["id"]]
    with serving(Api(deque([holding(first, post(2, edit_history_tweet_ids=history, **edited))]))) as server:
        events = read(source(server, languages=frozenset({"en"})), lambda events: len(events) == 2)
    assert events[1].deleted == Deletion(history[0])
    assert (events[1].notice, events[1].rejected is None) == (why, why is not None)


def test_an_edited_post_is_a_later_version_of_the_first():
    history = ["1990000000000000001", "1990000000000000002"]
    with serving(Api(deque([holding(post(1), post(2, edit_history_tweet_ids=history))]))) as server:
        events = read(source(server), has(2))
    assert [(event.tweet.id, event.tweet.text, event.revised) for event in events] == [
        ("1990000000000000001", "post number 1", False),
        ("1990000000000000001", "post number 2", True),
    ]


def until_the_cap(source, cursor=None):
    """The events until it ends at the cap, and what people are told there."""
    *found, last = (event for event in source.events(cursor, 0.1) if event)
    assert last.notice == "cap reached"
    return found, last.said


def test_the_spend_is_counted_in_the_cursor_and_the_cap_holds_over_restarts():
    api = Api(deque([holding(*(post(number) for number in range(1, 9)))] * 2))
    with serving(api) as server:
        first, told = until_the_cap(source(server, max_usd=0.015))
        assert tweets(first) == texts(1, 3)
        assert told == "--max-usd 0.015 is reached: 3 posts were read for $0.015. A higher cap goes on from here"
        assert json.loads(first[-1].cursor) | {"time_us": 0} == {
            "posts": 3,
            "usd_micros": 15_000,
            "id": "1990000000000000003",
            "time_us": 0,
        }
        asked = len(server.requests)
        second, _ = until_the_cap(source(server, max_usd=0.015), first[-1].cursor)
        assert second == []
        assert len(server.requests) == asked, "nothing is asked for that could not be paid for"
        third, _ = until_the_cap(source(server, max_usd=0.025), first[-1].cursor)
        assert len(tweets(third)) == 2


def test_the_price_is_a_setting(monkeypatch):
    monkeypatch.setenv("TWEETMILL_X_POST_USD", "0.01")
    get_settings.cache_clear()
    with serving(Api(deque([holding(post(1), post(2), post(3))]))) as server:
        events, _ = until_the_cap(source(server, max_usd=0.02))
    assert len(tweets(events)) == 2


def test_what_is_left_out_is_paid_for_all_the_same():
    api = Api(deque([holding(post(1, lang="de"), post(2, lang="und"), post(2), post(3))]))
    with serving(api) as server:
        events = read(source(server, languages=frozenset({"en"})), has(2))
    assert tweets(events) == ["post number 2", "post number 3"]
    assert notices(events) == {"other language": 1, "repetition": 1}
    assert json.loads(events[-1].cursor)["posts"] == 4


def test_empty_lines_keep_a_connection_alive_and_silence_ends_it():
    alive = [part for _ in range(5) for part in (0.3, b"\r\n")]
    api = Api(deque([holding(post(1), *alive, post(2)), holding(post(3))]))
    with serving(api) as server:
        events = read(source(server, patience=IMPATIENT), has(3))
        assert len(server.to(STREAM)) == 2
    assert tweets(events) == texts(1, 3)
    assert rejections(events) == []
    assert sum(event.hole is not None for event in events) == 1


def test_malformed_lines_cost_themselves_alone_and_are_kept_with_their_place_and_reason():
    bad = [b"{", b"[1]", b"7", b"\xff\xfe", b"{" * 5_000, b'{"data": 7}', b'{"data": [1]}']
    lines = [post(1), *(line + b"\r\n" for line in bad), post(2, text=None), post(3, text="a" * 30_000), post(4), b"{}\r\n", post(5)]
    with serving(Api(deque([holding(*lines)]))) as server:
        events = read(source(server), has(3))
    assert tweets(events) == ["post number 1", "post number 4", "post number 5"]
    found = rejections(events)
    assert len(found) == len(bad) + 2
    assert {key for key, _, _ in found[: len(bad)]} == {"after 1990000000000000001"}
    assert "aaa" not in str(found)
    assert notices(events) == {"line without a post": 1}


def test_a_line_over_the_bound_is_kept_as_rejected_and_reading_goes_on():
    api = Api(deque([holding(post(1), post(2, text="b" * 9_000)), holding(post(3))]))
    with serving(api) as server:
        events = read(source(server, longest=5_000), has(2))
    assert tweets(events) == ["post number 1", "post number 3"]
    assert rejections(events) == [("after 1990000000000000001", None, "the line is longer than 5000 bytes")]


def test_a_disconnect_that_x_announces_is_counted_and_connected_again_after():
    api = Api(deque([holding(post(1), problem("operational-disconnect")), holding(post(2))]))
    with serving(api) as server:
        events = read(source(server), has(2))
    assert tweets(events) == texts(1, 2)
    assert notices(events) == {"disconnect notice": 1}


def test_an_account_that_is_used_up_ends_it_with_advice():
    with serving(Api(deque([holding(post(1), problem("usage-capped", "UsageCapExceeded"))]))) as server:
        events, told = until_it_ends(source(server))
    assert tweets(events) == texts(1, 1)
    assert "has used up what it may read: buy credits" in told


def test_rules_are_added_and_removed_to_match_those_that_are_wanted():
    api = Api(deque([holding(post(1))]))
    with serving(api) as server:
        read(source(server, rules=("dogs -is:retweet", "birds", "birds")), has(1))
        changes = [request.json() for request in server.to(RULES) if request.method == "POST"]
    assert sorted(rule["value"] for rule in api.rules) == ["birds", "dogs -is:retweet"]
    assert {rule["tag"] for rule in api.rules} == {"tweetmill"}
    assert list(changes[0]) == ["add"], "what is wanted is added before anything is removed"
    assert changes[1] == {"delete": {"ids": ["1"]}}


def test_rules_that_match_already_are_left_as_they_are_and_asked_for_once():
    api = Api(deque([Reply(parts=[post(1)], end="cut"), holding(post(2))]))
    with serving(api) as server:
        read(source(server), has(2))
        assert [request.method for request in server.to(RULES)] == ["GET"]


def test_without_a_rule_those_in_force_are_read():
    with serving(Api(deque([holding(post(1))]))) as server:
        assert tweets(read(source(server, rules=()), has(1))) == texts(1, 1)
        assert [request.method for request in server.to(RULES)] == ["GET"]


def test_rules_of_somebody_else_are_neither_removed_nor_read_along():
    api = Api(rules=[{"id": "3", "value": "theirs"}, {"id": "4", "value": "theirs too", "tag": "other"}])
    with serving(api) as server:
        events, told = until_it_ends(source(server))
        assert server.to(STREAM) == []
    assert "has 2 other rules, whose posts would be sent and paid for here too" in told
    assert len(api.rules) == 2
    assert events == []


def test_no_rule_at_all_is_told():
    with serving(Api(rules=[])) as server:
        assert "give at least one --rule" in until_it_ends(source(server, rules=()))[1]


def test_a_rule_that_is_refused_is_told_by_its_number_and_reason():
    with serving(Api()) as server:
        _, told = until_it_ends(source(server, rules=("cats", "birds", "nonsense(")))
    assert told == "X refuses --rule number 2 of those to add: no viable alternative at character '('\\x1b"


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_a_status_that_may_pass_is_tried_again(status):
    with serving(Api(deque([holding(post(1))]), refusals=deque([status, status]))) as server:
        assert tweets(read(source(server), has(1))) == texts(1, 1)
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "X refuses the token (HTTP 401): set X_BEARER_TOKEN to the bearer token of an app"),
        (402, "the account of X_BEARER_TOKEN has no credits (HTTP 402): buy some"),
        (403, "the app of X_BEARER_TOKEN may not read the filtered stream (HTTP 403)"),
        (404, "X refuses what it was asked for (HTTP 404): check the address and each --rule"),
        (301, "X refuses what it was asked for (HTTP 301): check the address"),
    ],
)
def test_a_status_that_does_not_pass_ends_with_advice(status, advice):
    with serving(Api(refusals=deque([status]))) as server:
        _, told = until_it_ends(source(server))
        assert len(server.requests) == 1
    assert told.startswith(advice)
    assert TOKEN not in told


def test_a_stream_that_is_never_served_is_given_up():
    with serving(Api(refusals=deque([429] * 9))) as server:
        assert "X does not serve its stream (HTTP 429)" in until_it_ends(source(server))[1]
        assert len(server.requests) == QUICK.first_tries


def test_a_stream_that_has_worked_before_is_not_given_up():
    with serving(Api(deque([holding(post(1))]))) as server:
        cursor = read(source(server), has(1))[-1].cursor
    with serving(Api(deque([holding(post(2))]), refusals=deque([503] * 3 * QUICK.first_tries))) as server:
        assert tweets(read(source(server), has(1), cursor)) == texts(2, 2)


def test_nor_is_one_that_was_opened_and_had_nothing_to_say_yet():
    opened = Reply(parts=[b"\r\n"], end="cut")
    tries = QUICK.first_tries + 2
    with serving(Api(deque([opened, *[Reply(503)] * tries, holding(post(1))]))) as server:
        assert tweets(read(source(server), has(1))) == texts(1, 1)


def breaking(api, times):
    """An API whose stream breaks off so many times before it answers."""
    left = iter(range(times))

    def handle(request):
        if request.path == STREAM and next(left, None) is not None:
            raise ConnectionResetError
        return api(request)

    return handle


def test_nor_is_one_whose_rules_were_agreed_though_its_stream_breaks_off_again_and_again():
    with serving(breaking(Api(deque([holding(post(1))])), 2 * QUICK.first_tries)) as server:
        assert tweets(read(source(server), has(1))) == texts(1, 1)


def test_nor_is_a_restarted_one_whose_network_fails_again_and_again():
    with serving(Api(deque([holding(post(1))]))) as server:
        cursor = read(source(server), has(1))[-1].cursor
    with serving(breaking(Api(deque([holding(post(2))])), 2 * QUICK.first_tries)) as server:
        assert tweets(read(source(server), has(1), cursor)) == texts(2, 2)


def test_one_that_is_refused_a_connection_from_the_start_is_given_up_though_its_rules_were_agreed():
    with serving(Api(deque([Reply(429)] * 3 * QUICK.first_tries))) as server:
        assert "end other streams of the same app" in until_it_ends(source(server))[1]


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_status_that_does_not_pass_ends_also_a_stream_that_has_worked_before(status):
    with serving(Api(deque([holding(post(1))]))) as server:
        cursor = read(source(server), has(1))[-1].cursor
    with serving(Api(refusals=deque([status]))) as server:
        assert f"(HTTP {status})" in until_it_ends(source(server), cursor)[1]
        assert len(server.requests) == 1


def test_pauses_are_those_that_x_asks_for_and_no_shorter():
    from producers.sources.live.x_api.source import _DOCUMENTED, _Pausing

    pausing = _Pausing(_DOCUMENTED)
    for status, bounds in ((None, [0, 0.25, 0.5, 0.75]), (500, [5, 10, 20, 40, 80, 160, 320]), (429, [60, 120, 240])):
        for least in bounds:
            assert least <= pausing.after(status) <= least * 1.25
    assert pausing.tries == 14
    pausing.reset()
    assert pausing.after(None) == 0
    network = [pausing.after(None) for _ in range(200)]
    assert max(network) <= 16.0


@pytest.mark.parametrize("cursor", ["", "{}", '{"posts": -1, "usd_micros": 0, "id": null, "time_us": null}', '{"line": 7}'])
def test_the_cursor_of_another_source_is_refused(cursor):
    with serving(Api()) as server:
        assert "give the stream another name" in until_it_ends(source(server), cursor)[1]


def test_without_a_cap_nothing_is_read():
    with pytest.raises(SourceError, match=r"X charges \$0.005 for each post that is read: say with --max-usd"):
        open_live("x", LiveOptions(rules=("cats",)))


def test_it_does_not_begin_anew_since_that_would_count_anew():
    with pytest.raises(SourceError, match=r"leave out --from-start, or give another --name"):
        open_live("x", LiveOptions(rules=("cats",), max_usd=1, from_start=True))


def test_without_a_token_it_is_told_where_one_comes_from(monkeypatch):
    monkeypatch.delenv("X_BEARER_TOKEN")
    get_settings.cache_clear()
    with pytest.raises(SourceError, match="set X_BEARER_TOKEN to its bearer token"):
        open_live("x", LiveOptions(max_usd=1))


def test_a_token_that_is_none_is_told_without_it(monkeypatch):
    monkeypatch.setenv("X_BEARER_TOKEN", "two words")
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="X_BEARER_TOKEN: a key is made of letters") as raised:
        open_live("x", LiveOptions(max_usd=1))
    assert "two words" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        (f"http://api.x.com{STREAM}", "unencrypted: write https://"),
        (f"https://api.x.com{STREAM}?backfill_minutes=5", "without parameters"),
        (f"https://user:secret@api.x.com{STREAM}", "without a login"),
    ],
)
def test_an_address_that_is_none_is_told_how_to_write_it(address, advice):
    with pytest.raises(UserError) as raised:
        open_live(address, LiveOptions(max_usd=1))
    assert advice in str(raised.value)
    assert "secret" not in str(raised.value)
