"""Models: what `model` holds, and where their files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, text

from workers.errors import NotFound
from workers.settings import get_settings


@dataclass(frozen=True)
class TunedModel:
    """A model row: a base and the adapter trained on it (None for the base alone)."""

    id: int
    name: str
    base: str
    stage: str
    adapter: Path | None
    dataset: int | None
    dataset_fingerprint: str | None = None
    """The examples that it learnt from: a dataset rebuilt since then has another one."""


_COLUMNS = "SELECT id, name, base, stage, adapter_uri, dataset, details->>'dataset_fingerprint' AS dataset_fingerprint FROM model"


def locate_base(base: str) -> str:
    """Where this node finds a base model: in its models folder under that name, else what was named, a path or a hub id.

    A producer may know a name alone: the folder lies on the nodes.
    """
    folder = get_settings().models_folder / base
    if (folder / "config.json").is_file() or (folder.is_dir() and not Path(base).is_dir()):
        return str(folder)
    return base


def by_id(connection: Connection, model_id: int) -> TunedModel:
    """The model with this id.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(text(f"{_COLUMNS} WHERE id = :id"), {"id": model_id}).one_or_none()
    if row is None:
        raise NotFound(f"model {model_id}: there is none. `tweetmill models` lists them")
    return _model(row)


def resolve(connection: Connection, reference: str) -> TunedModel:
    """A model by its id, its name, or `latest`.

    Raises:
        NotFound: there is none.
    """
    if reference == "latest":
        row = connection.execute(text(f"{_COLUMNS} ORDER BY id DESC LIMIT 1")).one_or_none()
    else:
        row = connection.execute(
            text(f"{_COLUMNS} WHERE name = :name OR id::text = :name ORDER BY (name = :name) DESC LIMIT 1"),
            {"name": reference},
        ).one_or_none()
    if row is None:
        raise NotFound(f"model {reference}: there is none. `tweetmill models` lists them, `tweetmill train` makes one")
    return _model(row)


def _model(row: Row[Any]) -> TunedModel:
    adapter = Path(row.adapter_uri) if row.adapter_uri else None
    return TunedModel(
        id=row.id,
        name=row.name,
        base=row.base,
        stage=row.stage,
        adapter=adapter,
        dataset=row.dataset,
        dataset_fingerprint=row.dataset_fingerprint,
    )
