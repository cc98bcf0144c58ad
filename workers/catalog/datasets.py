"""Datasets as people look at them: which there are, what is in one, how two differ, and where an example came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from workers.errors import NotFound, UserError

SHORTEST_KEY = 4  # characters that name an example, if no other begins so


@dataclass(frozen=True)
class Dataset:
    """A row of `dataset`."""

    id: int
    name: str
    fingerprint: str
    recipe: dict[str, Any]
    created_at: datetime


def resolve(connection: Connection, name: str) -> Dataset:
    """The dataset of this name.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(
        text("SELECT id, name, fingerprint, recipe, created_at FROM dataset WHERE name = :name"), {"name": name}
    ).one_or_none()
    if row is None:
        raise NotFound(f"dataset {name}: there is none. `tweetmill datasets` lists them")
    return Dataset(**row._mapping)


_LISTED = """
SELECT dataset.name, dataset.created_at, dataset.fingerprint, dataset.recipe->>'stage' AS stage, count(example.key) AS examples,
       count(example.key) FILTER (WHERE example.split = 'train') AS train,
       count(example.key) FILTER (WHERE example.split = 'test') AS test
FROM dataset LEFT JOIN example ON example.dataset = dataset.id
GROUP BY dataset.id ORDER BY dataset.created_at DESC, dataset.id DESC
"""


def listed(connection: Connection) -> list[dict[str, Any]]:
    """All datasets, the newest first, with their numbers of examples."""
    return [dict(row._mapping) for row in connection.execute(text(_LISTED))]


def counts(connection: Connection, dataset: int) -> list[dict[str, Any]]:
    """How many examples of each split and origin a dataset has."""
    rows = connection.execute(
        text("SELECT split, origin, count(*) AS examples FROM example WHERE dataset = :id GROUP BY 1, 2 ORDER BY 1 DESC, 2"),
        {"id": dataset},
    )
    return [dict(row._mapping) for row in rows]


_FLAGGED = """
SELECT flag, count(*) AS examples, min(in_all) AS in_all FROM (
    SELECT jsonb_array_elements_text(lineage->'flagged') AS flag, count(*) OVER () AS in_all FROM example
    WHERE dataset = :id AND jsonb_exists(lineage, 'flagged')) AS flagged
GROUP BY flag ORDER BY examples DESC, flag
"""


def flagged(connection: Connection, dataset: int) -> tuple[int, dict[str, int]]:
    """How many examples were kept, since a person wrote them, though filters found something; and how many for what."""
    rows = connection.execute(text(_FLAGGED), {"id": dataset}).all()
    return (rows[0].in_all if rows else 0), {row.flag: row.examples for row in rows}


# A few of each kind, the same ones every time.
_EXAMPLES = """
SELECT key, origin, split, prompt_text AS prompt, target_text AS target
FROM (SELECT *, row_number() OVER (PARTITION BY split, origin ORDER BY key) AS place FROM example WHERE dataset = :dataset) AS numbered
WHERE place <= :shown ORDER BY split DESC, origin, place
"""


def examples(connection: Connection, dataset: int, shown: int) -> list[dict[str, Any]]:
    """At most `shown` examples of each split and origin."""
    return [dict(row._mapping) for row in connection.execute(text(_EXAMPLES), {"dataset": dataset, "shown": shown})]


def recipe_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The keys of two recipes whose values differ, nested ones under their dotted names; the datasets' names aside."""
    left, right = _flat(one), _flat(other)
    keys = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key) and key != "dataset")
    return [{"key": key, "a": left.get(key), "b": right.get(key)} for key in keys]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


# An example is what is asked and answered, whoever brought it: the origin shows in the counts.
_ONLY = """
only_{side} AS (
    SELECT key, stage, prompt_text, target_text, origin, split FROM example AS mine WHERE dataset = :{side} AND NOT EXISTS (
        SELECT FROM example AS theirs WHERE theirs.dataset = :{other}
        AND theirs.stage = mine.stage AND theirs.prompt_text = mine.prompt_text AND theirs.target_text = mine.target_text))
"""
_BOTH = f"WITH {_ONLY.format(side='a', other='b')}, {_ONLY.format(side='b', other='a')}"
_ALONE = """
{both}
SELECT key, origin, split, prompt_text AS prompt, target_text AS target, count(*) OVER () AS total FROM only_{side} AS mine
WHERE NOT EXISTS (SELECT FROM only_{other} AS theirs WHERE theirs.stage = mine.stage AND theirs.prompt_text = mine.prompt_text)
ORDER BY key LIMIT :shown
"""
_CHANGED = """
{both}
SELECT prompt, a, b, key_a, key_b, count(*) OVER () AS total FROM (
    SELECT DISTINCT ON (mine.stage, mine.prompt_text) mine.prompt_text AS prompt, mine.target_text AS a, theirs.target_text AS b,
           mine.key AS key_a, theirs.key AS key_b
    FROM only_a AS mine JOIN only_b AS theirs ON theirs.stage = mine.stage AND theirs.prompt_text = mine.prompt_text
    ORDER BY mine.stage, mine.prompt_text, mine.key, theirs.key) AS changed
ORDER BY key_a LIMIT :shown
"""
_MOVED = """
SELECT mine.key, mine.prompt_text AS prompt, mine.split AS a, theirs.split AS b, count(*) OVER () AS total
FROM example AS mine JOIN example AS theirs ON theirs.stage = mine.stage AND theirs.prompt_text = mine.prompt_text
    AND theirs.target_text = mine.target_text AND theirs.split <> mine.split
WHERE mine.dataset = :a AND theirs.dataset = :b ORDER BY mine.key LIMIT :shown
"""


def example_differences(connection: Connection, one: int, other: int, shown: int) -> dict[str, dict[str, Any]]:
    """What two datasets hold apart: `only_a`, `only_b`, `changed` (another target) and `moved` (to the other split).

    Each has its `count` and, under `examples`, the first `shown` of it.
    """
    queries = {
        "only_a": _ALONE.format(both=_BOTH, side="a", other="b"),
        "only_b": _ALONE.format(both=_BOTH, side="b", other="a"),
        "changed": _CHANGED.format(both=_BOTH),
        "moved": _MOVED,
    }
    found: dict[str, dict[str, Any]] = {}
    for name, query in queries.items():
        # One row more than is shown brings the total even where none is.
        rows = [dict(row._mapping) for row in connection.execute(text(query), {"a": one, "b": other, "shown": max(shown, 1)})]
        total = rows[0]["total"] if rows else 0
        for row in rows:
            del row["total"]
        found[name] = {"count": total, "examples": rows[:shown]}
    return found


# By the primary key, dataset after dataset: keys are hexadecimal, so that a g ends what begins alike.
_KEYS = """
SELECT DISTINCT found.key FROM dataset CROSS JOIN LATERAL (
    SELECT key FROM example WHERE example.dataset = dataset.id AND key >= :beginning AND key < :beginning || 'g' ORDER BY key LIMIT :most
) AS found ORDER BY found.key LIMIT :most
"""
_ORIGIN = """
SELECT example.key, dataset.name AS dataset, dataset.id AS dataset_id, example.split, example.cluster, example.stage, example.origin,
       example.prompt_text AS prompt, example.target_text AS target, example.lineage, example.tweet,
       tweet.source AS tweet_source, tweet.author AS tweet_author
FROM dataset CROSS JOIN LATERAL (SELECT * FROM example WHERE example.dataset = dataset.id AND key = :key) AS example
LEFT JOIN tweet ON tweet.id = example.tweet ORDER BY dataset.created_at DESC, dataset.id DESC
"""
_PAIR = "SELECT key FROM example WHERE dataset = :dataset AND tweet = :tweet AND origin = 'human' ORDER BY key LIMIT 1"
_SAID = """
SELECT said.verdict, said.reviewer, said.reviewed_at AS at, said.target_text AS edited FROM dataset CROSS JOIN LATERAL (
    SELECT * FROM review WHERE review.dataset = dataset.id AND key = :key AND verdict IN ('accepted', 'edited', 'rejected')
) AS said ORDER BY said.reviewed_at DESC LIMIT 1
"""
_AMBIGUOUS_SHOWN = 5
_KNOWN = ("operations", "seed", "copy", "teacher", "prompt_sha256", "scores", "reviewer", "licence")


def why(connection: Connection, beginning: str) -> dict[str, Any]:
    """All that is known of where an example came from; None stands for what nobody said.

    Args:
        connection: to the database.
        beginning: the example's key, or so much of it that no other begins alike.

    Raises:
        UserError: it is no key, or several examples begin so.
        NotFound: none begins so.
    """
    rows = connection.execute(text(_ORIGIN), {"key": _key(connection, beginning.strip().lower())}).all()
    row = rows[0]
    lineage: dict[str, Any] = row.lineage
    told: dict[str, Any] = {"example": row.key}
    told["datasets"] = [{"name": each.dataset, "split": each.split, "cluster": each.cluster} for each in rows]
    told |= {"stage": row.stage, "origin": row.origin, "prompt": row.prompt, "target": row.target}
    told["source"] = _source(row, lineage)
    if row.origin == "noise" and row.tweet is not None:
        told["source"]["pair"] = connection.execute(text(_PAIR), {"dataset": row.dataset_id, "tweet": row.tweet}).scalar()
    told |= {name: lineage.get(name) for name in _KNOWN}
    told["review"] = lineage.get("review") or _said(connection, row.key)
    told["reviewer"] = told["reviewer"] or (told["review"] or {}).get("reviewer")
    return told | {"lineage": lineage}


def _said(connection: Connection, key: str) -> dict[str, Any] | None:
    """What a reviewer said last of an example, in whichever dataset."""
    row = connection.execute(text(_SAID), {"key": key}).one_or_none()
    return None if row is None else {name: value for name, value in row._mapping.items() if value is not None}


def _key(connection: Connection, beginning: str) -> str:
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_KEY},64}}", beginning):
        named = f"an example is named by its key, {SHORTEST_KEY} to 64 hexadecimal digits"
        raise UserError(f"{beginning}: {named}. `tweetmill dataset show NAME` shows some")
    found = list(connection.execute(text(_KEYS), {"beginning": beginning, "most": _AMBIGUOUS_SHOWN + 1}).scalars())
    if not found:
        raise NotFound(f"example {beginning}: there is none. `tweetmill dataset show NAME` shows some")
    if len(found) > 1:
        shown = ", ".join(key[: len(beginning) + 6] for key in found[:_AMBIGUOUS_SHOWN])
        raise UserError(f"{beginning}: {len(found)} examples or more begin so ({shown}): give more digits")
    return str(found[0])


def _source(row: Any, lineage: Mapping[str, Any]) -> dict[str, Any]:
    tweet = {"tweet": row.tweet, "tweet_source": row.tweet_source, "tweet_author": row.tweet_author} if row.tweet is not None else {}
    match row.origin:
        case "human":
            return {"kind": "curated pair", **tweet}
        case "import":
            return {"kind": "import", **{name: lineage.get(name) for name in ("file", "place", "form", "human", "file_sha256")}}
        case "noise":
            return {"kind": f"noise of a {lineage.get('kind', 'text')}", "text_sha256": lineage.get("source"), **tweet}
        case _:
            return {"kind": row.origin, **tweet}
