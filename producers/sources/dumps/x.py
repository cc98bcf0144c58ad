"""Recognises dumps of X: both APIs, its web client's GraphQL, streams with their notices, and retweets whose text was cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from producers.sources.lines import Fields, Notice
from producers.sources.names import Names

RETWEET_PREFIX = re.compile(r"RT @\w+: ")
# What streams of the older API send between tweets.
STREAM_NOTICES = {
    "delete": "deletion",
    "limit": "limit notice",
    "scrub_geo": "scrub_geo notice",
    "status_withheld": "withheld notice",
    "user_withheld": "withheld notice",
    "disconnect": "disconnect notice",
    "warning": "warning",
    "friends": "friends list",
    "friends_str": "friends list",
    "event": "event",
    "control": "control message",
    "info": "info message",
}
_TABLE = Names()


def notice(row: Fields) -> Notice | None:
    """Return what a row is that is no tweet and has no text; None for what may be one."""
    if str(row.get("__typename")) in ("TweetTombstone", "TweetUnavailable"):
        return Notice("tombstone")
    if row.keys() <= {"meta", "noResults"}:  # the latter is Apify's
        return Notice("empty page")
    if len(row) > 5:
        return None
    return next((Notice(name) for key, name in STREAM_NOTICES.items() if isinstance(row.get(key), (dict, list, str))), None)


def of_graphql(row: Fields) -> Fields | None:
    """Return a tweet of the web client as one of the older API; None for what is none."""
    legacy = row.get("legacy")
    if not isinstance(legacy, dict):
        return None
    flat: Fields = {**legacy, "user": _user_of(row)}
    for key in ("rest_id", "note_tweet"):
        if row.get(key):
            flat[key] = row[key]
    return flat


def _user_of(row: Fields) -> Fields:
    user = _inner(row, "core", "user_results", "result")
    named = _inner(user, "legacy") or _inner(user, "core")
    return {"rest_id": user.get("rest_id"), "screen_name": named.get("screen_name")}


def results_in(response: object) -> Iterator[Fields]:
    """Yield every tweet of a response of the web client, in its order. Those that others quote or repeat stay inside them."""
    waiting = [response]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            result = _inner(found, "tweet_results", "result")
            if result:
                yield result
            else:
                waiting += reversed(list(found.values()))
        elif isinstance(found, list):
            waiting += reversed(found)


def included_in(page: Mapping[str, object]) -> Mapping[str, Fields]:
    """Return the tweets that a page of the newer API has beside its own, by id."""
    tweets = _inner(page, "includes").get("tweets")
    return {str(tweet["id"]): tweet for tweet in _objects(tweets) if "id" in tweet}


def with_whole_retweet(fields: Fields, row: Fields, included: Mapping[str, Fields]) -> Fields:
    """Return the fields with the whole text of a retweet: the APIs cut its own off, and the tweet that it repeats has it."""
    text = fields.get("text")
    prefix = RETWEET_PREFIX.match(text) if isinstance(text, str) else None
    original = _repeated(row, included) if prefix else None
    whole = _TABLE.fields_of(original).get("text") if original else None
    return {**fields, "text": prefix.group() + whole} if prefix and isinstance(whole, str) else fields


def _repeated(row: Fields, included: Mapping[str, Fields]) -> Fields | None:
    for reference in _objects(row.get("referenced_tweets")):
        if reference.get("type") == "retweeted":
            # Flattened by twarc, the reference holds the whole tweet.
            return reference if "text" in reference else included.get(str(reference.get("id")))
    if row.get("verb") == "share":
        return _inner(row, "object") or None  # of Gnip's activities
    of_web = _inner(row, "retweeted_status_result", "result")
    of_web = _inner(of_web, "tweet") or of_web
    return of_graphql(of_web) or _inner(row, "retweeted_status") or _inner(row, "retweetedTweet") or None


def _inner(row: Mapping[str, object], *steps: str) -> Fields:
    """Return the object at the end of these keys, an empty one where there is none."""
    found: object = row
    for step in steps:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) else {}


def _objects(values: object) -> Iterator[Fields]:
    return (value for value in (values if isinstance(values, list) else ()) if isinstance(value, dict))
