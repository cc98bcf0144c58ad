"""The dumps that people have: one invented row of each, and the right value of every field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.sources import dates
from producers.sources.lines import Line
from producers.sources.names import Names
from producers.sources.objects import lines_of
from schemas.forms import Form, FormError, read_row
from tests.support.fuzzing import fuzz

NOON = datetime(2023, 5, 4, 12, 0, 5, tzinfo=UTC)
OLD_NOON = "Thu May 04 12:00:05 +0000 2023"
ISO_NOON = "2023-05-04T12:00:05.000Z"
EPOCH_NOON = 1683201605
FIELDS = ("id", "text", "author", "lang", "created_at", "conversation")


def read(document: Any, **told: str) -> list[Line]:
    return list(lines_of(json.loads(json.dumps(document)), 1, "s", Names(told)))


def values(document: Any, **told: str) -> list[tuple[Any, ...]]:
    lines = read(document, **told)
    assert [line.unusable for line in lines] == [()] * len(lines)
    return [tuple(getattr(line.tweet, field) for field in FIELDS) for line in lines if line.tweet]


def outcomes(document: Any) -> list[str | None]:
    return [line.notice or (line.rejected and line.rejected.reason) for line in read(document)]


def of_web(**legacy: Any) -> dict[str, Any]:
    user = {"__typename": "User", "rest_id": "31", "legacy": {"screen_name": "ada"}}
    legacy = {"created_at": OLD_NOON, "lang": "en", "conversation_id_str": "10", **legacy}
    return {"__typename": "Tweet", "rest_id": "11", "core": {"user_results": {"result": user}}, "legacy": legacy}


def at_bluesky(text: str = "the lift is stuck") -> dict[str, Any]:
    record = {"$type": "app.bsky.feed.post", "createdAt": ISO_NOON, "langs": ["en"], "text": text}
    return {
        "uri": "at://did:plc:q/app.bsky.feed.post/3k",
        "cid": "b",
        "author": {"did": "did:plc:q", "handle": "q.example"},
        "record": record,
    }


AT_BLUESKY = ("at://did:plc:q/app.bsky.feed.post/3k", "the lift is stuck", "did:plc:q", "en", NOON, None)
JETSTREAM = {"did": "did:plc:q", "time_us": 1, "kind": "commit"}
NOTE = {
    "type": "Note", "id": "https://m.example/9", "attributedTo": "https://m.example/u", "published": ISO_NOON, "conversation": "tag:c",
    "content": '<p>Soup &amp; bread,<br>cold &lt;3</p><p><a href="https://m.example/t" class="mention hashtag">#<span>lunch</span></a></p>',
    "contentMap": {"en": "…"},
}  # fmt: skip
NOTED = "Soup & bread,\ncold <3\n\n#lunch"

DUMPS = {
    "archive of an account": (
        [{"tweet": {"id": "11", "id_str": "11", "full_text": "no milk again", "lang": "en", "created_at": OLD_NOON, "edit_info": {}}}],
        ("11", "no milk again", None, "en", NOON, None),
    ),
    "twarc, flattened": (
        {"id": "11", "text": "no milk again", "author_id": "31", "author": {"id": "31", "username": "ada"}, "conversation_id": "10",
         "created_at": ISO_NOON, "lang": "en", "__twarc": {"version": "2.1.0"}},
        ("11", "no milk again", "31", "en", NOON, "10"),
    ),
    "twarc, flattened, a whole retweet": (
        {"id": "11", "text": "RT @bo: a long t…", "author_id": "31", "author": {"id": "31"},
         "referenced_tweets": [{"type": "quoted", "id": "8", "text": "quoted"}, {"type": "retweeted", "id": "9", "text": "a long tale"}]},
        ("11", "RT @bo: a long tale", "31", None, None, None),
    ),
    "twarc, flattened, a long post": (
        {"id": "11", "text": "cut…", "note_tweet": {"text": "not cut at all"}, "author_id": "31", "edit_history_tweet_ids": ["11"]},
        ("11", "not cut at all", "31", None, None, None),
    ),
    "snscrape": (
        {"_type": "snscrape.modules.twitter.Tweet", "url": "https://x.example/ada/status/11", "date": "2023-05-04T12:00:05+00:00",
         "rawContent": "no milk https://t.co/a", "renderedContent": "no milk shop.example", "id": 11, "lang": "en", "conversationId": 10,
         "user": {"_type": "User", "username": "ada", "id": 31}},
        ("11", "no milk https://t.co/a", "31", "en", NOON, "10"),
    ),
    "snscrape, older": (
        {"_type": "Tweet", "date": "2023-05-04T12:00:05+00:00", "content": "no milk again", "id": 11, "user": {"username": "ada"}},
        ("11", "no milk again", "ada", None, NOON, None),
    ),
    "snscrape, a retweet": (
        {"id": 11, "rawContent": "RT @bo: a lo…", "user": {"username": "ada"}, "retweetedTweet": {"id": 9, "rawContent": "a long tale"}},
        ("11", "RT @bo: a long tale", "ada", None, None, None),
    ),
    "twint": (
        {"id": 11, "conversation_id": "10", "created_at": "2023-05-04 12:00:05 UTC", "date": "2023-05-04", "user_id": 31,
         "username": "ada", "name": "Ada", "tweet": "no milk again", "language": "en"},
        ("11", "no milk again", "31", "en", NOON, "10"),
    ),
    "v1.1, a page of a search": (
        {"statuses": [{"id": 11.0e17, "id_str": "1100000000000000001", "full_text": "no milk", "user": {"id": 31, "id_str": "31"},
                       "in_reply_to_status_id": 10.0, "in_reply_to_status_id_str": "10"}], "search_metadata": {"count": 1}},
        ("1100000000000000001", "no milk", "31", None, None, "10"),
    ),
    "v1.1, extended, in a stream": (
        {"id_str": "11", "text": "cut…", "truncated": True, "extended_tweet": {"full_text": "not cut"}, "timestamp_ms": f"{EPOCH_NOON}000",
         "user": {"screen_name": "ada"}},
        ("11", "not cut", "ada", None, NOON, None),
    ),
    "GraphQL": (of_web(full_text="no milk again", id_str="11"), ("11", "no milk again", "31", "en", NOON, "10")),
    "GraphQL, a long post": (
        of_web(full_text="cut…") | {"note_tweet": {"note_tweet_results": {"result": {"text": "not cut"}}}},
        ("11", "not cut", "31", "en", NOON, "10"),
    ),
    "GraphQL, a retweet": (
        of_web(full_text="RT @bo: a lo…", retweeted_status_result={"result": of_web(full_text="a long tale")}),
        ("11", "RT @bo: a long tale", "31", "en", NOON, "10"),
    ),
    "GraphQL, limited in who may reply": (
        {"__typename": "TweetWithVisibilityResults", "tweet": of_web(full_text="no milk again")},
        ("11", "no milk again", "31", "en", NOON, "10"),
    ),
    "GraphQL, a response": (
        {"data": {"user": {"result": {"timeline": {"instructions": [{"type": "TimelineClearCache"}, {"entries": [
            {"content": {"itemContent": {"tweet_results": {"result": of_web(full_text="no milk again")}}}}]}]}}}}},
        ("11", "no milk again", "31", "en", NOON, "10"),
    ),
    "Apify, flattened": (
        {"author/userName": "ada", "author/id": "31", "createdAt": OLD_NOON, "id": "11", "text": "no milk again", "entities/urls/0": "x"},
        ("11", "no milk again", "31", None, NOON, None),
    ),
    "Gnip": (
        {"id": "tag:search.twitter.com,2005:11", "objectType": "activity", "verb": "post", "postedTime": ISO_NOON, "body": "no milk",
         "actor": {"objectType": "person", "id": "id:twitter.com:31", "preferredUsername": "ada"}, "twitter_lang": "en", "object": {}},
        ("11", "no milk", "31", "en", NOON, None),
    ),
    "Gnip, a retweet": (
        {"id": "tag:search.twitter.com,2005:11", "verb": "share", "body": "RT @bo: a lo…", "actor": {"id": "id:twitter.com:31"},
         "object": {"id": "tag:search.twitter.com,2005:9", "body": "a lo…", "long_object": {"body": "a long tale"}}},
        ("11", "RT @bo: a long tale", "31", None, None, None),
    ),
    "Octoparse": (
        {"User_Name": "Ada", "UTC_Time": ISO_NOON, "Tweet_Website": "https://twitter.com/ada/status/11?s=20", "Tweet_Content": "no milk"},
        ("11", "no milk", "Ada", None, NOON, None),
    ),
    "NodeXL": (
        {"Vertex 1": "ada", "Relationship": "Tweet", "Tweet": "no milk", "Tweet Date (UTC)": "2023-05-04 12:00:05", "Imported ID": "11"},
        ("11", "no milk", "ada", None, NOON, None),
    ),
    "web exporter": (
        {"id": "11", "created_at": "2023-05-04 14:00:05 +02:00", "full_text": "no milk again", "screen_name": "ada", "metadata": {}},
        ("11", "no milk again", "ada", None, NOON, None),
    ),
    "mongoexport": (
        {"_id": {"$oid": "5a68"}, "id": {"$numberLong": "1290000000000000001"}, "text": "no milk again",
         "user": {"id": {"$numberInt": "31"}}, "created_at": {"$date": "2023-05-04T12:00:05Z"}},
        ("1290000000000000001", "no milk again", "31", None, NOON, None),
    ),
    "mongoexport, canonical": (
        {"_id": {"$oid": "5a68"}, "text": "no milk again", "created_at": {"$date": {"$numberLong": f"{EPOCH_NOON}000"}}},
        ("5a68", "no milk again", None, None, NOON, None),
    ),
    "tweepy": (
        {"_api": None, "_json": {"id_str": "11", "text": "no milk again", "user": {"id_str": "31"}}, "id": 1},
        ("11", "no milk again", "31", None, None, None),
    ),
    "X's archive, long posts": (
        {"noteTweet": {"noteTweetId": "11", "createdAt": ISO_NOON, "core": {"text": "no milk again"}}},
        ("11", "no milk again", None, None, NOON, None),
    ),
    "rtweet": (
        {"status_id": "x1290000000000000001", "user_id": "x1000000000000000031", "text": "no milk"},
        ("1290000000000000001", "no milk", "1000000000000000031", None, None, None),
    ),
    "elasticdump": ({"_index": "t", "_id": "11", "_source": {"text": "no milk"}}, ("11", "no milk", None, None, None, None)),
    "CouchDB": (
        {"rows": [{"id": "11", "key": "11", "value": {"rev": "1-a"}, "doc": {"_id": "11", "text": "no milk"}}]},
        ("11", "no milk", None, None, None, None),
    ),
    "Weibo": ({"statuses": [{"idstr": "11", "text": 'no <a href="/t">#milk#</a>'}]}, ("11", "no #milk#", None, None, None, None)),
    "Elasticsearch": (
        {"hits": {"total": 1, "hits": [{"_index": "t", "_source": {"id_str": "11", "text": "no milk again", "user": {"id_str": "31"}}}]}},
        ("11", "no milk again", "31", None, None, None),
    ),
    "pandas, records": (
        {"id": 11, "text": "no milk again", "created_at": EPOCH_NOON * 1000, "author": None, "lang": float("nan")},
        ("11", "no milk again", None, None, NOON, None),
    ),
    "pandas, columns": (
        {"id": {"0": 11}, "text": {"0": "no milk again"}, "date": {"0": EPOCH_NOON * 10**9}},
        ("11", "no milk again", None, None, NOON, None),
    ),
    "pandas, split": (
        {"columns": ["id", "text", "date"], "index": [0], "data": [[11, "no milk again", EPOCH_NOON * 10**6]]},
        ("11", "no milk again", None, None, NOON, None),
    ),
    "pandas, index": ({"0": {"id": "11", "text": "no milk again"}}, ("11", "no milk again", None, None, None, None)),
    "pandas, table": (
        {"schema": {"fields": []}, "data": [{"index": 0, "id": "11", "text": "no milk again"}]},
        ("11", "no milk again", None, None, None, None),
    ),
    "by id": ({"1290000000000000001": {"text": "no milk"}}, ("1290000000000000001", "no milk", None, None, None, None)),
    "columns": ({"text": ["no milk again"], "id": ["11"], "label": [0]}, ("11", "no milk again", None, None, None, None)),
    "Hugging Face, rows": (
        {"features": [], "rows": [{"row_idx": 0, "row": {"tweet_id": "11", "text": "no milk again"}, "truncated_cells": []}]},
        ("11", "no milk again", None, None, None, None),
    ),
    "Bluesky, a feed": ({"feed": [{"post": at_bluesky()}], "cursor": "c"}, AT_BLUESKY),
    "Bluesky, a search": ({"posts": [at_bluesky()]}, AT_BLUESKY),
    "Bluesky, an account's records": (
        {"records": [{"uri": AT_BLUESKY[0], "cid": "b", "value": at_bluesky()["record"] | {"reply": {"root": {"uri": "at://r"}}}}]},
        (*AT_BLUESKY[:5], "at://r"),
    ),
    "Bluesky, Jetstream": (
        JETSTREAM | {"commit": {"operation": "create", "collection": "app.bsky.feed.post", "rkey": "3k", "record": at_bluesky()["record"]}},
        AT_BLUESKY,
    ),
    "Mastodon, the API": (
        {"id": "9", "created_at": ISO_NOON, "in_reply_to_id": "8", "language": "en", "content": NOTE["content"], "reblog": None,
         "account": {"id": "31", "acct": "ada"}},
        ("9", NOTED, "31", "en", NOON, "8"),
    ),
    "Mastodon, an outbox": (
        {"@context": "c", "type": "OrderedCollection",
         "orderedItems": [{"type": "Create", "actor": "https://m.example/u", "object": NOTE}]},
        ("https://m.example/9", NOTED, "https://m.example/u", "en", NOON, "tag:c"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "told"), DUMPS.values(), ids=DUMPS.keys())
def test_a_dump_gives_each_field_its_value(document: Any, told: tuple[Any, ...]) -> None:
    assert values(document) == [told]


@pytest.mark.parametrize(
    ("document", "notice"),
    [
        ({"delete": {"status": {"id": 1, "id_str": "1", "user_id": 2}, "timestamp_ms": "1"}}, "deletion"),
        ({"noResults": True}, "empty page"),
        ({"info": {"message": "Replay Request Completed", "activity_count": 1}}, "info message"),
        ({"limit": {"track": 5, "timestamp_ms": "1"}}, "limit notice"),
        ({"scrub_geo": {"user_id": 1}}, "scrub_geo notice"),
        ({"friends": [1, 2]}, "friends list"),
        ({"data": [], "meta": {"result_count": 0}}, "empty page"),
        ({"meta": {"result_count": 0}}, "empty page"),
        ({"statuses": []}, "empty list"),
        ([], "empty list"),
        ({"__typename": "TweetTombstone", "tombstone": {"text": {}}}, "tombstone"),
        (JETSTREAM | {"commit": {"operation": "delete", "collection": "app.bsky.feed.post", "rkey": "3k"}}, "deletion"),
        (JETSTREAM | {"commit": {"operation": "create", "collection": "app.bsky.feed.like", "record": {}}}, "record that is no post"),
        ({"did": "did:plc:q", "kind": "identity", "identity": {}}, "identity event"),
        ({"post": at_bluesky(), "reason": {"$type": "app.bsky.feed.defs#reasonRepost"}}, "repost"),
        ({"id": "1", "content": "", "account": {"id": "3"}, "reblog": {"content": "<p>theirs</p>"}}, "boost"),
        ({"type": "Announce", "actor": "a", "object": "https://m.example/1"}, "boost"),
        ({"type": "Like", "actor": "a", "object": "https://m.example/1"}, "Like activity"),
    ],
)
def test_what_is_no_tweet_is_named(document: Any, notice: str) -> None:
    assert outcomes(document) == [notice]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"headline": "secret", "meta": {"lede": "secret"}}, "the keys are headline, meta.lede. `--map text=KEY`"),
        ({"subreddit": "x", "selftext": "secret"}, "looks like a Reddit post"),
        ({"so tired of secret things": 1, "n": 2}, "the keys are n. "),
        ({"https://m.example/secret": 1, '{"a":"secret"}': 2, "n": 2}, "the keys are n. "),
        ({"id": "11"}, "the keys are id. Where there are ids alone, fetch their texts first: twarc2 hydrate"),
        ({"errors": [{"title": "Not Found"}]}, "an error that an API answered"),
        ({"text": ["secret", "b"], "label": [1]}, "not of one length"),
        ({"type": "Create", "actor": "a", "object": "https://m.example/1"}, "names the post"),
        ("secret", "no object"),
    ],
)
def test_an_unknown_shape_is_refused_with_its_keys_and_without_a_value(document: Any, reason: str) -> None:
    (told,) = outcomes(document)
    assert told is not None
    assert reason in told
    assert "secret" not in told


def test_what_stands_beside_a_tweet_is_read_too() -> None:
    post = {"post": at_bluesky(), "replies": [{"post": at_bluesky("and the stairs are wet")}]}
    assert [row[1] for row in values({"thread": post})] == ["the lift is stuck", "and the stairs are wet"]
    around = {"ancestors": [{"id": "1", "text": "above"}], "descendants": [{"id": "2", "text": "below"}]}
    assert [row[1] for row in values(around)] == ["above", "below"]


def test_each_tweet_of_a_line_has_its_own_place() -> None:
    lines = read([{"id": "1", "text": "a"}, {"id": "2"}, {"id": "3"}, {"delete": {}}])
    assert [line.item for line in lines] == [1, 2, 3, 4]
    assert [(line.rejected.line, line.rejected.item) for line in lines if line.rejected] == [(1, 2), (1, 3)]
    assert [line.item for line in read({"statuses": [{"id": "1", "text": "a"}]})] == [None]


class TestToldNames:
    ROW: dict[str, Any] = {"uid": "7", "body": "wrong", "payload": {"said": ["right"]}, "who": {"nick": "ada"}, "text": "wrong too"}  # noqa: RUF012

    def test_win_over_the_table_by_paths_and_places_in_lists(self) -> None:
        told = {"id": "uid", "text": "payload.said.0", "author": "who.nick"}
        assert values(self.ROW, **told) == [("7", "right", "ada", None, None, None)]

    def test_reach_rows_in_lists_and_wrappers(self) -> None:
        assert [row[:2] for row in values({"items": [{"row": {"n": 5, "said": "right"}}]}, text="said", id="n")] == [("5", "right")]

    def test_that_lead_nowhere_refuse_the_row_for_a_text_and_are_none_for_the_rest(self) -> None:
        (line,) = read(self.ROW, text="nowhere")
        assert line.rejected is not None
        assert "nowhere, which --map names for the text" in line.rejected.reason
        names = Names({"text": "body", "lang": "tongue"})
        (line,) = lines_of(self.ROW, 1, "s", names)
        assert line.tweet is not None
        assert line.tweet.lang is None
        assert names.not_found() == {"lang": "tongue"}
        assert names.seen == "uid, body, payload.said, who.nick, text"

    def test_that_lead_to_an_object_or_a_list_say_so(self) -> None:
        reasons = [
            line.rejected.reason for inner in ({"body": "x"}, ["x", "y"]) for line in read({"msg": inner}, text="msg") if line.rejected
        ]
        assert reasons == ["the text is an object, not a string", "the text is a list, not a string"]

    def test_name_a_key_that_has_dots(self) -> None:
        assert [row[1] for row in values({"a.name": "right", "a": {"name": "wrong"}}, text="a.name")] == ["right"]


class TestOptionalFields:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("author", {"nick": "ada"}), ("author", ["a", "b"]), ("author", 1.5e18), ("author", "x" * 201), ("author", "a\x00"),
            ("lang", {}), ("lang", 5), ("lang", "e" * 36), ("lang", ["en", "de"]), ("lang", "\ud83d"),
            ("created_at", "2/3/2015"), ("created_at", "0001-01-01T00:00:00+14:00"), ("created_at", "9999-12-31T23:59:59-12:00"),
            ("created_at", "2020-01-01T00:00:00+16:00"), ("created_at", "Mon Jan 01 00:00:00 +1400 0001"), ("created_at", {"at": 1}),
            ("created_at", 5), ("created_at", 10**30), ("created_at", True), ("created_at", "Infinity"),
            ("conversation", "1.8E+18"), ("conversation", {"a": 1}),
        ],
    )  # fmt: skip
    def test_that_cannot_be_used_cost_themselves(self, field: str, value: Any) -> None:
        (line,) = lines_of({"id": "1", "text": "kept", field: value}, 1, "s", Names())
        assert line.tweet is not None
        assert (line.tweet.text, getattr(line.tweet, field)) == ("kept", None)
        assert line.unusable == (() if value == {} else (field,))

    @pytest.mark.parametrize("nothing", [None, "", "nan", "NaT", "null", "NULL", "<NA>", "NA", "#N/A", "\\N", float("nan")])
    @pytest.mark.parametrize("field", ["author", "lang", "created_at", "conversation"])
    def test_that_say_nothing_are_not_counted(self, field: str, nothing: Any) -> None:
        (line,) = lines_of({"id": "1", "text": "kept", field: nothing}, 1, "s", Names())
        assert line.tweet is not None
        assert line.unusable == ()

    @pytest.mark.parametrize(
        "written",
        [
            "2023-05-04T12:00:05Z", "2023-05-04 12:00:05", "2023-05-04 12:00:05 UTC", "2023-05-04 14:00:05 +0200", "20230504120005",
            "2023-05-04 14:00:05 +02:00", OLD_NOON, "Thu, 04 May 2023 12:00:05 GMT", "Thu May 04 05:00:05 PDT 2023",
            EPOCH_NOON, float(EPOCH_NOON), EPOCH_NOON * 1000, EPOCH_NOON * 10**6, EPOCH_NOON * 10**9, str(EPOCH_NOON), f"{EPOCH_NOON}000",
            "1.683201605e+09", "1.683201605E12", "1.683201605E9", f"{EPOCH_NOON}.0", "2023/05/04 12:00:05", "2023/5/4 12:00:05 PM",
            "2023-05-04T12:00:05Z[UTC]", "4 May 2023 12:00:05", "May 4, 2023 12:00:05 PM", "May 4, 2023 · 12:00:05 PM UTC",
            "12:00:05 PM · May 4, 2023", "04-May-2023 12:00:05PM", "4 May 2023, 14:00:05 +0200", "Thursday, May 4, 2023 at 12:00:05 pm",
        ],
    )  # fmt: skip
    def test_a_date_is_read_in_the_forms_that_dumps_have(self, written: Any) -> None:
        assert [row[4] for row in values({"id": "1", "text": "x", "created_at": written})] == [NOON]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (11.0, "11"), ("11.0", "11"), (2.0**53 - 1, "9007199254740991"), (2.0**53, None), (1.29e18, None), ("1290000000000000512.0", None),
        ("1.29E+18", None), ("1,29E+18", None), (float("nan"), None), ("nan", None), ("'1290000000000000001", "1290000000000000001"),
        ('="1290000000000000001"', "1290000000000000001"), (1290000000000000001, "1290000000000000001"), (float("inf"), None), (True, None),
        ("1,290,000,000,000,000,001", "1290000000000000001"), ("12,00", "12"), ("x129", "x129"),
        ('"1290000000000000001"', "1290000000000000001"), ("=1290000000000000001", "1290000000000000001"), ("NULL", None), ("\\N", None),
        ("1.290.000.000.000.000.001", "1290000000000000001"), ("1 290 000 000 000 000 001", "1290000000000000001"), ("1.290", "1.290"),
    ],
)  # fmt: skip
def test_an_id_that_lost_digits_is_refused_and_one_that_lost_none_is_mended(written: Any, meant: str | None) -> None:
    (line,) = lines_of({"id": written, "text": "x"}, 1, "s", Names())
    assert (line.tweet.id if line.tweet else None) == meant


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([OLD_NOON, "<p>a</p>", "RT @a: b"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "text",
                    "tweet",
                    "data",
                    "includes",
                    "tweets",
                    "user",
                    "author",
                    "legacy",
                    "core",
                    "rest_id",
                    "record",
                    "value",
                    "uri",
                    "did",
                    "kind",
                    "commit",
                    "reason",
                    "post",
                    "type",
                    "object",
                    "content",
                    "account",
                    "reblog",
                    "feed",
                    "statuses",
                    "rows",
                    "row",
                    "columns",
                    "hits",
                    "referenced_tweets",
                    "retweeted_status",
                    "full_text",
                    "note_tweet",
                    "$oid",
                    "$numberLong",
                    "$date",
                    "created_at",
                    "lang",
                    "conversation",
                    "_source",
                    "delete",
                    "limit",
                    "__typename",
                    "0",
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@fuzz
@given(JSON)
def test_any_document_gives_tweets_notices_and_refusals_and_never_fails(document: Any) -> None:
    lines = list(lines_of(document, 1, "s", Names()))
    assert lines
    for line in lines:
        assert sum(part is not None for part in (line.tweet, line.rejected, line.notice)) == 1
        if line.tweet is not None:
            assert line.tweet.text.strip()
            line.tweet.model_dump_json()


@fuzz
@given(st.dictionaries(st.sampled_from(["text", "id", "created_at", "date", "author", "lang", "user"]), JSON, min_size=1))
def test_any_values_of_known_fields_give_a_tweet_or_a_refusal(row: dict[str, Any]) -> None:
    for line in lines_of({"id": "1", "text": "x"} | row, 1, "s", Names({"text": "text", "author": "user.0"})):
        assert (line.tweet is None) == (line.rejected is not None)


@fuzz
@given(st.text(st.sampled_from("0123456789-:+.TZ /eEWMonJanGUC"), max_size=30) | st.integers() | st.floats() | st.datetimes())
def test_any_date_is_one_that_postgres_and_python_hold_or_none(written: Any) -> None:
    moment = dates.parse_date(written)
    assert moment is None or dates.EARLIEST <= moment <= dates.LATEST


@fuzz
@given(st.sampled_from(Form), JSON, JSON, JSON)
def test_any_row_of_pairs_is_a_pair_or_is_refused(form: Form, one: Any, other: Any, third: Any) -> None:
    turns = [{"role": "user", "content": one}, {"role": "assistant", "content": other}]
    for row in (
        {"prompt": one, "completion": other, "instruction": one, "input": other, "output": third, "history": None},
        {"messages": turns, "conversations": [{"from": "human", "value": one}, third], "prompt": turns[:1], "completion": turns[1:]},
        {"messages": one, "conversations": other, "prompt": third, "chosen": turns, "rejected": one},
    ):
        try:
            pair = read_row(form, row)
        except FormError:
            continue
        assert pair.prompt.strip()
        assert pair.completion.strip()
