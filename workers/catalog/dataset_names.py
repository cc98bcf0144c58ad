"""A dataset's name: who bears it, and what becomes of who bore it before."""

from __future__ import annotations

from sqlalchemy import Connection, text

_STANDING = "SELECT id, fingerprint FROM dataset WHERE name = :name"
_RENAME = "UPDATE dataset SET name = :name WHERE id = :dataset"
_BRING_BACK = "UPDATE dataset SET name = :name, recipe = cast(:recipe AS jsonb), created_at = now() WHERE name = :shelf RETURNING id"
_INSERT_DATASET = "INSERT INTO dataset (name, recipe, fingerprint) VALUES (:name, cast(:recipe AS jsonb), :fingerprint) RETURNING id"
# Raw: what these two ask lies inside the jobs' results and payloads, which are JSON.
_OVERWRITTEN = """
SELECT dataset.fingerprint FROM job JOIN dataset ON dataset.name = :name
WHERE job.idempotency_key = :key AND job.state = 'done' AND job.result->>'fingerprint' <> dataset.fingerprint
"""
_UNANSWERED = """
SELECT true FROM job WHERE idempotency_key = :key AND state = 'done'
AND ((result->'teacher'->>'unanswered')::int > 0 OR payload->'teacher'->>'ask_again' IS NOT NULL)
"""


def claim_name(connection: Connection, name: str, recipe: str, fingerprint: str) -> int:
    """Give the dataset with this fingerprint its name; return its id. `recipe` is JSON.

    Another one that bears the name is never changed: models learnt from it. It is put on the shelf as `name@fingerprint`, and comes
    back from there when the same examples are built again.
    """
    # Two jobs that build the same name at once: the second waits for the first.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})
    standing = connection.execute(text(_STANDING), {"name": name}).one_or_none()
    if standing is not None and standing.fingerprint != fingerprint:
        connection.execute(text(_RENAME), {"dataset": standing.id, "name": _shelf(name, standing.fingerprint)})
    elif standing is not None:
        return int(standing.id)
    values = {"name": name, "recipe": recipe, "fingerprint": fingerprint}
    shelved = connection.execute(text(_BRING_BACK), values | {"shelf": _shelf(name, fingerprint)}).scalar()
    return int(shelved if shelved is not None else connection.execute(text(_INSERT_DATASET), values).scalar_one())


def _shelf(name: str, fingerprint: str) -> str:
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
