"""Finds the tweets in a JSON document: one tweet, a page, a table or a wrapper around them, in the forms of the dumps that people have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from producers.sources.dumps import bluesky, fediverse, tables, x
from producers.sources.fields import line_of
from producers.sources.lines import Fields, Line, Notice, RefusalError
from producers.sources.names import Names
from schemas.paths import names_in, plain_value
from workers.ingest.readers.rows import HYDRATE

Found = Fields | RefusalError | Notice
"""What stands for one row: the fields of a tweet, why there is none, or what it is that is no tweet."""

DEEPEST_TWEET = 12  # wrappers and lists around a tweet

# One object around the tweet: X's archive, feeds, Hugging Face's rows, Elasticsearch, CouchDB, tweepy, the web client.
_WRAPPERS = (
    "tweet",
    "post",
    "row",
    "_source",
    "doc",
    "_json",
    "result",
    "status",
    "node",
    "like",
    "thread",
    "noteTweet",
    "record",
    "value",
)
# Lists of tweets under a name, as APIs answer and tools export.
_LISTS = (
    "statuses", "feed", "posts", "records", "orderedItems", "rows", "tweets", "items", "results", "hits", "docs", "timeline", "entries",
    "ancestors", "descendants", "replies",
)  # fmt: skip
_IDS = ("id", "id_str", "tweet_id", "id, id_str")
_FOREIGN = {
    "subreddit": "a Reddit post",
    "text_post_app_text_posts": "an export of Threads",
    "threads_text_post_app_text_posts": "an export of Threads",
    "sender_name": "a chat",
    "dmConversation": "a conversation by direct message",
}


def lines_of(document: object, number: int, source: str, names: Names) -> Iterator[Line]:
    """Yield what line `number` holds, whose JSON is `document`: each of several tweets has its place among them."""
    found = tweets_of(document, names)
    first, second = next(found, None), next(found, None)
    if first is None:
        yield Line(number, notice="empty list")
    elif second is None:
        yield _line(first, number, source)
    else:
        for item, each in enumerate(chain((first, second), found), 1):
            yield _line(each, number, source).at(item)


def _line(found: Found, number: int, source: str) -> Line:
    if isinstance(found, Notice):
        return Line(number, notice=found.name)
    return found.on(number) if isinstance(found, RefusalError) else line_of(number, found, source)


def tweets_of(document: object, names: Names | None = None) -> Iterator[Found]:
    """Yield the fields `id`, `text`, `author`, `lang`, `created_at`, `conversation` of every tweet in one JSON document, in its order."""
    names = names or Names()
    for row, included in _rows(document, names, {}, DEEPEST_TWEET):
        yield row if isinstance(row, (RefusalError, Notice)) else _fields(row, names, included)


Rows = Iterator[tuple[Found, Mapping[str, Fields]]]


def _rows(document: object, names: Names, included: Mapping[str, Fields], deepest: int) -> Rows:
    """Yield every object that may be a tweet, with the tweets that came beside it."""
    document = plain_value(document)
    if deepest == 0:
        yield RefusalError(None, f"the tweet lies more than {DEEPEST_TWEET} levels deep"), included
    elif isinstance(document, list):
        for item in document:
            yield from _rows(item, names, included, deepest - 1)
    elif not isinstance(document, dict):
        yield RefusalError(None, "the line is JSON but no object"), included
    elif names.holds_text(document):
        yield document, included
    elif (of_web := x.of_graphql(document)) is not None:
        yield of_web, included
    elif isinstance(names.text_in(document), str):
        yield document, included
    else:
        yield from _inside(document, names, included, deepest - 1)


def _inside(document: Fields, names: Names, included: Mapping[str, Fields], deepest: int) -> Rows:
    """Yield what an object without a text of its own holds."""
    known = bluesky.recognised(document) or fediverse.recognised(document)
    table = tables.rows_of(document, names.text_in(document)) if known is None else None
    if known is not None:
        yield known, included
    elif table is not None:
        yield from ((row, included) for row in table)
    elif "data" in document:
        yield from _page(document, names, deepest)
    elif (inner := _held(document, names)) is not None:
        yield from _rows(inner, names, included, deepest)
    else:
        notice, results = x.notice(document), [] if names.mapped else list(x.results_in(document))
        yield from _rows(results, names, included, deepest) if results and not notice else iter(((notice or document, included),))


def _page(page: Fields, names: Names, deepest: int) -> Rows:
    data = page["data"]
    of_web = x.results_in(data) if isinstance(data, dict) else iter(())
    first = next(of_web, None)
    if first is not None:
        data = chain((first,), of_web)
    included = x.included_in(page)
    empty = True
    for item in [data] if isinstance(data, dict) or not isinstance(data, Iterator | list) else data:
        empty = False
        if isinstance(item, dict):
            yield from _rows(item, names, included, deepest)
        else:
            yield RefusalError("data", "data holds something that is no object"), included
    if empty:
        yield Notice("empty page"), included


def _held(document: Fields, names: Names) -> object:
    """Return the object and the lists inside in which tweets may be; None where there are none."""
    inside: list[object] = []
    empty = False
    wrapper = next((key for key in _WRAPPERS if isinstance(document.get(key), dict)), None)
    if wrapper is not None:
        # A database may keep the id beside what it keeps.
        outer = {"_id": document["_id"]} if "_id" in document else {}
        inside.append({**outer, **_object(document[wrapper])})
    for key in _LISTS:
        value = plain_value(document.get(key))
        if key == "hits" and isinstance(value, dict):
            return value
        if isinstance(value, list) and (not value or isinstance(value[0], (dict, list))):
            inside += value
            empty = not value
    if inside:
        return inside[0] if len(inside) == 1 else inside
    # By index, as pandas writes it, or by id.
    values = list(document.values())
    if values and all(isinstance(value, dict) for value in values) and isinstance(names.text_in(values[0]), str):
        return [_of_index(key, value) for key, value in document.items()]
    return [] if empty else None


def _object(value: object) -> Fields:
    return value if isinstance(value, dict) else {}


def _of_index(key: str, value: object) -> object:
    return {"_id": key, **value} if isinstance(value, dict) and key.isdecimal() and len(key) > 9 else value


def _fields(row: Fields, names: Names, included: Mapping[str, Fields]) -> Found:
    """Return the fields of one row, or why they can't be had."""
    if not names.holds_text(row):
        known = fediverse.recognised(row)
        if isinstance(known, (Notice, RefusalError)):
            return known
        row = known or row
    try:
        fields = x.with_whole_retweet(names.fields_of(row), row, included)
    except RefusalError as refusal:
        return refusal
    # A mapped text that is an object is reported as one.
    unmapped = "text" not in names.mapped and isinstance(fields.get("text"), dict)
    return _without_text(row) if "text" not in fields or unmapped else fields


def _without_text(row: Fields) -> RefusalError:
    if "errors" in row or "error" in row:
        return RefusalError(None, "the line is an error that an API answered, not a tweet")
    foreign = next((f"this looks like {what}; " for key, what in _FOREIGN.items() if key in row), "")
    keys = names_in(row)
    alone = f" {HYDRATE}." if keys in _IDS else ""
    return RefusalError("text", f"the text is missing: {foreign}the keys are {keys}.{alone} `--map text=KEY` says which holds the text")
