"""Where an example came from, and what was said of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlmodel import Session, col, select

from schemas.tables.datasets import Example
from workers.errors import NotFound, UserError

SHORTEST_KEY = 4
"""Digits that name an example, if no other key begins alike."""

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
_NEWEST_VERDICT = """
SELECT newest.verdict, newest.reviewer, newest.reviewed_at AS at, newest.target_text AS edited FROM dataset CROSS JOIN LATERAL (
    SELECT * FROM review WHERE review.dataset = dataset.id AND key = :key AND verdict IN ('accepted', 'edited', 'rejected')
) AS newest ORDER BY newest.reviewed_at DESC LIMIT 1
"""
_AMBIGUOUS_SHOWN = 5
_KNOWN = ("operations", "seed", "copy", "teacher", "prompt_sha256", "scores", "reviewer", "licence")


def why(session: Session, beginning: str) -> dict[str, Any]:
    """Return all that is known of where an example came from; None stands for what nobody said.

    Args:
        session: to the database.
        beginning: the example's key, or so much of it that no other begins alike.

    Raises:
        UserError: it is no key, or several examples begin so.
        NotFound: none begins so.
    """
    rows = session.connection().execute(text(_ORIGIN), {"key": _key(session, beginning.strip().lower())}).all()
    row = rows[0]
    lineage: dict[str, Any] = row.lineage
    known: dict[str, Any] = {"example": row.key}
    known["datasets"] = [{"name": each.dataset, "split": each.split, "cluster": each.cluster} for each in rows]
    known |= {"stage": row.stage, "origin": row.origin, "prompt": row.prompt, "target": row.target}
    known["source"] = _source(row, lineage)
    if row.origin == "noise" and row.tweet is not None:
        known["source"]["pair"] = _pair(session, row.dataset_id, row.tweet)
    known |= {name: lineage.get(name) for name in _KNOWN}
    known["review"] = lineage.get("review") or _newest_verdict(session, row.key)
    known["reviewer"] = known["reviewer"] or (known["review"] or {}).get("reviewer")
    return known | {"lineage": lineage}


def _pair(session: Session, dataset: int, tweet: str) -> str | None:
    """Return the key of the curated pair of a tweet, from which its noise was made."""
    query = select(Example.key).where(Example.dataset == dataset, Example.tweet == tweet, Example.origin == "human")
    return session.exec(query.order_by(col(Example.key)).limit(1)).first()


def _newest_verdict(session: Session, key: str) -> dict[str, Any] | None:
    """Return what a reviewer said last of an example, in whichever dataset."""
    row = session.connection().execute(text(_NEWEST_VERDICT), {"key": key}).one_or_none()
    return None if row is None else {name: value for name, value in row._mapping.items() if value is not None}


def _key(session: Session, beginning: str) -> str:
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_KEY},64}}", beginning):
        named = f"an example is named by its key, {SHORTEST_KEY} to 64 hexadecimal digits"
        raise UserError(f"{beginning}: {named}. `tweetmill dataset show NAME` shows some")
    values = {"beginning": beginning, "most": _AMBIGUOUS_SHOWN + 1}
    found = list(session.connection().execute(text(_KEYS), values).scalars())
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
