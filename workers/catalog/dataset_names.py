"""A dataset's name: who bears it, and what becomes of who bore it before."""

from __future__ import annotations

from sqlalchemy import Connection, text

_STANDING = "SELECT id, fingerprint FROM dataset WHERE name = :name"
_RENAME = "UPDATE dataset SET name = :name WHERE id = :dataset"
_BRING_BACK = "UPDATE dataset SET name = :name, recipe = cast(:recipe AS jsonb), created_at = now() WHERE name = :shelf RETURNING id"
_INSERT_DATASET = "INSERT INTO dataset (name, recipe, fingerprint) VALUES (:name, cast(:recipe AS jsonb), :fingerprint) RETURNING id"


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
