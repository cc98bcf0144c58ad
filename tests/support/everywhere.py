"""A tweet with a marker in it that stands in every table where text of a tweet can stand; and where a marker still stands."""

from __future__ import annotations

import json
import uuid
from typing import Any

from sqlalchemy import JSON, Connection, Text, text

from schemas.tables.jobs import Job
from workers.catalog.examples.fingerprints import example_key
from workers.files import sha256

MARKER = "zanzibarquokka"
TWEET, AUTHOR = "tweet-7", "author-7"
SAYS = f"omg the {MARKER} train was late again!!"
SUMMARY = f"The {MARKER} train was late again."

HOLDS_TEXT = {"tweet", "summary", "example", "dropped", "teaching", "review", "curated"}
"""Tables with a column in which text of a tweet stands, or text that was made of it."""

HOLDS_NONE = {
    "job": "payloads name files, results hold figures and keys",
    "job_event": "counts, names and states",
    "worker": "names and queues",
    "source_cursor": "a path, and a digest",
    "rejected_row": "a place and a reason, which never quotes",
    "dataset": "a recipe and a fingerprint",
    "model": "a recipe and figures",
    "checkpoint": "a folder and a digest",
    "metric": "figures",
    "selection": "ids",
    "evaluation": "figures",
    "promotion": "names and figures",
    "stream": "an address, a cursor and counts",
    "stream_shard": "a name and numbers",
    "canary_shard": "a name and numbers",
    "arrival": "ids and numbers",
    "forgotten": "digests",
    "taken_back": "counts",
}
"""Tables with text columns, and why no text of a tweet stands in any of them."""


def tables_with_text() -> set[str]:
    """Every table that the metadata gives a column of text or JSON."""
    return {
        name
        for name, table in Job.metadata.tables.items()
        if any(isinstance(getattr(column.type, "impl", column.type), Text | JSON) for column in table.columns)
    }


def where(connection: Connection, marker: str = MARKER) -> set[str]:
    """The tables in which a marker stands, in whatever column."""
    return {name for name in Job.metadata.tables if _count(connection, name, marker)}


def _count(connection: Connection, table: str, marker: str) -> int:
    query = text(f'SELECT count(*) FROM "{table}" AS entry WHERE strpos(row_to_json(entry)::text, :marker) > 0')  # noqa: S608
    return int(connection.execute(query, {"marker": marker}).scalar_one())


def insert(connection: Connection, table: str, **values: Any) -> Any:
    """Store a row; return its first column."""
    columns = ", ".join(values)
    marks = ", ".join(f"cast(:{name} AS jsonb)" if isinstance(value, list | dict) else f":{name}" for name, value in values.items())
    given = {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in values.items()}
    first = next(iter(Job.metadata.tables[table].columns)).name
    statement = f'INSERT INTO "{table}" ({columns}) VALUES ({marks}) RETURNING "{first}"'  # noqa: S608
    return connection.execute(text(statement), given).scalar_one()


def add_tweet(connection: Connection, tweet: str, says: str, author: str | None = None) -> None:
    """Store a tweet."""
    insert(connection, "tweet", id=tweet, source="s", text=says, text_hash=sha256(says), author=author)


def add_example(connection: Connection, dataset: int, prompt: str, target: str, tweet: str | None = None, **more: Any) -> str:
    """Store an example; return its key."""
    made = {"stage": "summary", "origin": "human", "split": "train", "cluster": 1, **more}
    key = example_key(made["stage"], prompt, target, made["origin"])
    insert(connection, "example", dataset=dataset, key=key, prompt_text=prompt, target_text=target, tweet=tweet, **made)
    return key


def add_job(connection: Connection, kind: str = "test", state: str = "done", **more: Any) -> uuid.UUID:
    """Store a job."""
    new = uuid.uuid4()
    insert(connection, "job", id=new, kind=kind, queue="upkeep", idempotency_key=new.hex, state=state, **more)
    return new


def plant(connection: Connection) -> dict[str, Any]:
    """Put the tweet into each of these tables, with a model that was trained on it; return what it is called there."""
    add_tweet(connection, TWEET, SAYS, AUTHOR)
    dataset = insert(connection, "dataset", name="summaries", fingerprint="f00d")
    model = insert(connection, "model", name="tuned", base="b", method="lora", stage="summary", dataset=dataset)
    job = add_job(connection)
    insert(connection, "selection", job=job, ordinal=0, tweet=TWEET)
    insert(connection, "stream", name="live", address="a", model="tuned", state="running")
    insert(connection, "arrival", stream="live", ordinal=1, tweet=TWEET, tokens=9)
    insert(connection, "summary", tweet=TWEET, model=model, prompt_version="1", cleaned=SAYS, summary=SUMMARY, job=job, attempt=1)
    keys = [
        add_example(connection, dataset, SAYS, SUMMARY, TWEET),
        add_example(connection, dataset, f"teh {MARKER} train", SUMMARY, TWEET, origin="noise"),
        add_example(connection, dataset, SAYS, f"A {MARKER} train was late.", TWEET, origin="teacher", split="test"),
        add_example(connection, dataset, SAYS, f"Late was the {MARKER} train.", origin="import"),
    ]
    insert(connection, "review", dataset=dataset, key=keys[0], value=1.0, verdict="edited", target_text=f"The {MARKER} train is late.")
    refused = {"job": job, "dataset": "summaries", "stage": "summary", "target_text": SUMMARY}
    insert(connection, "dropped", key="d1", prompt_text=f"{MARKER} train", origin="noise", tweet=TWEET, **refused)
    insert(connection, "dropped", key="d2", prompt_text=SAYS, origin="import", **refused)
    insert(connection, "teaching", fingerprint="t", tweet=TWEET, model="m", prompt_sha256="p", answers=[SUMMARY], seconds=1.0, job=job)
    insert(connection, "curated", collection="pairs", position=1, key=TWEET, clean=f"The {MARKER} train was late.", summary=SUMMARY)
    insert(connection, "curated", collection="import", position=1, key="import 1", text=SAYS, summary=SUMMARY)
    return {"dataset": dataset, "model": model, "job": job, "keys": keys}
