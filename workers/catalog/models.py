"""Models: what the table `model` holds, and where a base model lies on this node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, desc
from sqlmodel import Session, col, or_, select

from schemas.tables.datasets import Dataset
from schemas.tables.jobs import Job
from schemas.tables.models import Evaluation, Metric, Model
from schemas.tables.streams import Stream
from workers.catalog import chains, service
from workers.catalog.removal import taken_back
from workers.catalog.shard_models import InService
from workers.errors import NotFound
from workers.settings import get_settings

IN_SERVICE = service.IN_SERVICE


def locate_base(base: str) -> str:
    """Return where this node finds a base model: in its models folder under that name, else what was named, a path or a hub id.

    A producer may know a name alone: the folder lies on the nodes.
    """
    folder = get_settings().models_folder / base
    if (folder / "config.json").is_file() or (folder.is_dir() and not Path(base).is_dir()):
        return str(folder)
    return base


def by_id(session: Session, model_id: int) -> Model:
    """Return the model with this id.

    Raises:
        NotFound: there is none.
    """
    found = session.get(Model, model_id)
    if found is None:
        raise NotFound(f"model {model_id}: there is none. `tweetmill models` lists them")
    return found


def resolve(session: Session, reference: str) -> Model:
    """Return a model by its id, its name, `latest`, or `in-service`: the one that is in service by default. A name wins over an id.

    Raises:
        NotFound: there is none.
    """
    if reference == IN_SERVICE:
        return by_id(session, service.in_service(session, None).model_id)
    if reference == "latest":
        query = select(Model).order_by(desc(col(Model.id)))
    else:
        bears_name = col(Model.name) == reference
        query = select(Model).where(or_(bears_name, cast(col(Model.id), Text) == reference)).order_by(desc(bears_name))
    found = session.exec(query.limit(1)).one_or_none()
    if found is None:
        raise NotFound(f"model {reference}: there is none. `tweetmill models` lists them, `tweetmill train` makes one")
    return found


def serving(session: Session, stream: str, begun_with: str) -> InService:
    """Return what writes for a stream that was begun with a model, `latest` or `in-service`: the one place that decides it.

    Raises:
        NotFound: there is no such model, or none is in service.
    """
    if service.decides(session, stream, begun_with):
        return service.in_service(session, stream)
    return InService(resolve(session, begun_with).id)


def of_stream(session: Session, name: str) -> Model:
    """Return the model that writes for a stream now, but for a canary.

    Raises:
        NotFound: there is no such stream, or its model is gone.
    """
    stream = session.get(Stream, name)
    if stream is None:
        raise NotFound(f"stream {name}: there is none. `tweetmill streams` lists them")
    return by_id(session, serving(session, name, stream.model).model_id)


def of_job(session: Session, job: UUID) -> Model | None:
    """Return the model that a training job made, if it did."""
    return session.exec(select(Model).where(Model.job == job)).one_or_none()


def listed(session: Session) -> list[dict[str, Any]]:
    """Return every model with the name of its dataset, the newest first."""
    places = service.places(session)
    found = session.exec(_with_dataset().order_by(desc(col(Model.id))))
    return [_entry(model, dataset, places) for model, dataset in found]


def described(session: Session, model_id: int) -> dict[str, Any]:
    """Return one model as `listed` does, and how many examples were `taken_back` since; a chain with the names of its `parts`.

    Raises:
        UserError: a part of the chain is gone.
    """
    model, dataset = session.exec(_with_dataset().where(Model.id == model_id)).one()
    is_chain = model.method == chains.CHAIN
    gone = {"taken_back": taken_back.of_model(session, model)}
    parts = {"parts": [part.name for part in chains.parts(session, model)]} if is_chain else {}
    return _entry(model, dataset, service.places(session)) | gone | parts


def _with_dataset() -> Any:
    return select(Model, col(Dataset.name)).join(Dataset, col(Dataset.id) == Model.dataset, isouter=True)


def _entry(model: Model, dataset: str | None, places: Mapping[int, list[str]]) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "base": model.base,
        "method": model.method,
        "stage": model.stage,
        "dataset": dataset,
        "job": model.job,
        "adapter": model.adapter_uri,
        "adapter_sha256": model.adapter_sha256,
        "details": model.details,
        "created_at": model.created_at,
        "in_service": places.get(model.id, []),
    }


def losses(session: Session, job: UUID) -> Sequence[Metric]:
    """Return the loss of each step of a training job, in order."""
    return session.exec(select(Metric).where(Metric.job == job, Metric.name == "loss").order_by(col(Metric.step))).all()


def sari_scores(session: Session, model_id: int) -> Sequence[Evaluation]:
    """Return the SARI of each system in a model's newest evaluation, the best first."""
    newest = (
        select(Evaluation.job)
        .join(Job, col(Job.id) == Evaluation.job)
        .where(Evaluation.model == model_id, Evaluation.metric == "sari")
        .order_by(desc(col(Job.created_at)))
        .limit(1)
    )
    query = select(Evaluation).where(Evaluation.job == newest.scalar_subquery(), Evaluation.subset == "all", Evaluation.metric == "sari")
    return session.exec(query.order_by(desc(col(Evaluation.value)))).all()


def figures(session: Session, job: UUID, system: str) -> dict[str, Evaluation]:
    """Return what an evaluation says of one system on all its rows, by the metric's key."""
    query = select(Evaluation).where(Evaluation.job == job, Evaluation.subset == "all", Evaluation.system == system)
    return {figure.metric: figure for figure in session.exec(query)}
