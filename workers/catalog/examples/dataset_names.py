"""The names of datasets: which dataset has one, and what an older dataset of the same name is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, text
from sqlmodel import Session, col, insert, update

from schemas.tables.datasets import Dataset
from workers.catalog.datasets import find
from workers.database import session_on

_LOCK_NAME = "SELECT pg_advisory_xact_lock(hashtext(:name))"
# Raw: what these two ask lies inside the jobs' results and payloads, which are JSON.
_OVERWRITTEN = """
SELECT dataset.fingerprint FROM job JOIN dataset ON dataset.name = :name
WHERE job.idempotency_key = :key AND job.state = 'done' AND job.result->>'fingerprint' <> dataset.fingerprint
"""
_UNANSWERED = """
SELECT true FROM job WHERE idempotency_key = :key AND state = 'done'
AND ((result->'teacher'->>'unanswered')::int > 0 OR payload->'teacher'->>'ask_again' IS NOT NULL)
"""


def claim_name(connection: Connection, name: str, recipe: Mapping[str, Any], fingerprint: str) -> int:
    """Give the dataset with this fingerprint its name; return its id.

    Another dataset that has the name is never changed, since models were trained on it. It is renamed to `name@fingerprint`, and gets
    the name back when the same examples are built again.
    """
    # Two jobs that build the same name at once: the second waits for the first.
    connection.execute(text(_LOCK_NAME), {"name": name})
    with session_on(connection) as session:
        standing = find(session, name)
        if standing is not None and standing.fingerprint == fingerprint:
            return standing.id
        if standing is not None:
            standing.name = _archived(name, standing.fingerprint)
            session.flush()
        return _renamed_back(session, name, recipe, fingerprint) or _inserted(session, name, recipe, fingerprint)


def _renamed_back(session: Session, name: str, recipe: Mapping[str, Any], fingerprint: str) -> int | None:
    archived = update(Dataset).where(col(Dataset.name) == _archived(name, fingerprint))
    renamed = archived.values(name=name, recipe=recipe, created_at=func.now()).returning(col(Dataset.id))
    return session.exec(renamed).scalar_one_or_none()


def _inserted(session: Session, name: str, recipe: Mapping[str, Any], fingerprint: str) -> int:
    new = insert(Dataset).values(name=name, recipe=recipe, fingerprint=fingerprint).returning(col(Dataset.id))
    made: int = session.exec(new).scalar_one()
    return made


def _archived(name: str, fingerprint: str) -> str:
    # A recipe can't ask for a name with an @ in it.
    return f"{name}@{fingerprint[:12]}"


def key_to_build(connection: Connection, key: str, name: str) -> str:
    """Return the idempotency key of a job that builds the dataset `name`.

    It is `key`, or another one if the name was given to other examples since the job of `key` was done.
    """
    other = connection.execute(text(_OVERWRITTEN), {"key": key, "name": name}).scalar()
    return f"{key}/{other}" if other else key


def key_to_ask_again(connection: Connection, key: str) -> str:
    """Return `key`, or a new key if the job of `key` is done and its teacher left tweets without an answer, or was asked again."""
    again, number = key, 0
    while connection.execute(text(_UNANSWERED), {"key": again}).scalar():
        number += 1
        again = f"{key}/again{number}"
    return again
