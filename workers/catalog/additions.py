"""Models that were tuned elsewhere: how their rows differ from those of trained ones, and how one is inserted.

A whole model is its own base, in the folder `added` of the models folder, and has no adapter. A model that a server has is a name and an
address in `details`; the key is named by an environment variable and never stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from schemas.bounds import Name
from schemas.tables.models import Model
from workers.errors import UserError
from workers.settings import get_settings

MERGED = "merged"
"""The method of a whole model that was tuned elsewhere."""

SERVED = "served"
"""The method of a model that a server has."""

FOLDER = "added"

_name: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True)
class ServedAt:
    """Where a server has a model.

    Attributes:
        url: of its API, with `/v1`.
        key_variable: the environment variable that holds its key; None: none is named.
    """

    url: str
    key_variable: str | None = None


def served_at(model: Model) -> ServedAt | None:
    """Return where a server has a model; None for one that runs here."""
    if model.method != SERVED:
        return None
    return ServedAt(str(model.details["url"]), model.details.get("key_variable"))


def own_folder(model: Model) -> Path | None:
    """Return the folder of a whole model that was added; None for any other."""
    if model.method != MERGED or Path(model.base).parts[:1] != (FOLDER,):
        return None
    return get_settings().models_folder / model.base


def check_name(session: Session, name: str) -> str:
    """Return a name that a new model can have.

    Raises:
        UserError: it is none, or another model has it.
    """
    try:
        name = _name.validate_python(name)
    except ValidationError as error:
        raise UserError(f"--name {name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    if session.exec(select(Model.id).where(Model.name == name)).first() is not None:
        raise UserError(f"{name}: there is a model of this name already. Give another one with --name")
    return name


def add(session: Session, values: dict[str, Any]) -> Model:
    """Insert the row of a model. The caller commits.

    Raises:
        UserError: another model has its name by now.
    """
    new = session.exec(insert(Model).values(values).on_conflict_do_nothing().returning(col(Model.id))).scalar_one_or_none()
    if new is None:
        raise UserError(f"{values['name']}: there is a model of this name already. Give another one with --name")
    made = session.get(Model, new)
    assert made is not None
    return made
