"""JSON objects that hold tweets: the plain `{"id", "text"}`, X API v2 objects and pages, and the older v1.1 objects.

Authors are ids where the form has them: unlike handles they do not change, and both APIs share them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from producers.sources.forms import RefusalError

Json = dict[str, object]
RETWEET_PREFIX = re.compile(r"RT @\w+: ")


def tweets_of(document: object) -> Iterator[Json | RefusalError]:
    """The fields `id`, `text`, `author`, `lang`, `created_at`, `conversation` of every tweet in one JSON document, in its order."""
    if isinstance(document, list):
        for item in document:
            yield from tweets_of(item)
    elif not isinstance(document, dict):
        yield RefusalError(None, "the line is JSON but no object")
    elif "data" in document and "text" not in document:
        yield from _page(document)
    elif "errors" in document and "text" not in document:
        yield RefusalError(None, "the line is an error that the X API answered, not a tweet")
    else:
        yield _single(document)


def _page(page: Json) -> Iterator[Json | RefusalError]:
    data = page["data"]
    included = _included_tweets(page.get("includes"))
    for item in data if isinstance(data, list) else [data]:
        yield _version_2(item, included) if isinstance(item, dict) else RefusalError("data", "data holds something that is no object")


def _included_tweets(includes: object) -> dict[str, Json]:
    tweets = includes.get("tweets") if isinstance(includes, dict) else None
    if not isinstance(tweets, list):
        return {}
    return {str(tweet["id"]): tweet for tweet in tweets if isinstance(tweet, dict) and "id" in tweet}


def _single(item: Json) -> Json:
    if "edit_history_tweet_ids" in item:
        return _version_2(item, {})
    if any(key in item for key in ("id_str", "full_text", "retweeted_status", "extended_tweet")):
        return _version_1(item)
    return _plain(item)


def _plain(item: Json) -> Json:
    fields: Json = {key: item[key] for key in ("id", "text", "author", "lang", "created_at", "conversation") if key in item}
    if "conversation" not in item and "conversation_id" in item:
        fields["conversation"] = item["conversation_id"]
    if "id" not in item and "tweet_id" in item:
        fields["id"] = item["tweet_id"]
    return fields


def _version_2(item: Json, included: dict[str, Json]) -> Json:
    return {
        "id": item.get("id"),
        "text": _with_whole_retweet(_text_2(item), _retweeted_2(item, included)),
        "author": item.get("author_id"),
        "lang": item.get("lang"),
        "created_at": item.get("created_at"),
        "conversation": item.get("conversation_id"),
    }


def _text_2(item: Json) -> object:
    note = item.get("note_tweet")
    return note["text"] if isinstance(note, dict) and note.get("text") else item.get("text")


def _retweeted_2(item: Json, included: dict[str, Json]) -> object:
    references = item.get("referenced_tweets")
    for reference in references if isinstance(references, list) else []:
        if isinstance(reference, dict) and reference.get("type") == "retweeted":
            original = included.get(str(reference.get("id")))
            return _text_2(original) if original else None
    return None


def _version_1(item: Json) -> Json:
    user = item.get("user")
    author = user.get("id_str") or user.get("screen_name") if isinstance(user, dict) else None
    original = item.get("retweeted_status")
    return {
        "id": item["id_str"] if item.get("id_str") else item.get("id"),
        "text": _with_whole_retweet(_text_1(item), _text_1(original) if isinstance(original, dict) else None),
        "author": author,
        "lang": item.get("lang"),
        "created_at": item.get("created_at"),
        # These archives do not name a thread: the tweets answered lead to its first one, as far as they are ingested.
        "conversation": item.get("in_reply_to_status_id_str") or item.get("in_reply_to_status_id"),
    }


def _text_1(item: Json) -> object:
    extended = item.get("extended_tweet")
    if isinstance(extended, dict) and extended.get("full_text"):
        return extended["full_text"]
    return item.get("full_text") or item.get("text")


def _with_whole_retweet(text: object, original: object) -> object:
    """Both APIs cut a retweet's own text off; the whole one stands in the tweet that it repeats."""
    if not isinstance(text, str) or not isinstance(original, str):
        return text
    prefix = RETWEET_PREFIX.match(text)
    return prefix.group() + original if prefix else text
