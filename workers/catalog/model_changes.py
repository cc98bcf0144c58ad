"""Renames models and removes them, with what hangs on them."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, func, literal, or_, update
from sqlmodel import Session, col, select

from schemas.bounds import Name
from schemas.states import JobState
from schemas.tables.jobs import Job
from schemas.tables.models import Evaluation, Model
from schemas.tables.streams import Stream
from schemas.tables.summaries import Summary
from workers.catalog import additions, chains, models, service
from workers.errors import NotFound, UserError
from workers.settings import get_settings

_name: TypeAdapter[str] = TypeAdapter(Name)
_UNENDED = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True)
class Hanging:
    """What hangs on a model: rows that would go with it."""

    summaries: int
    evaluations: int

    def __str__(self) -> str:
        counted = [(self.summaries, "summaries"), (self.evaluations, "figures of evaluations")]
        return " and ".join(f"{count:,} {what}" for count, what in counted if count)


def hanging(session: Session, model: Model) -> Hanging:
    """Count what hangs on a model."""
    counted = [session.exec(select(func.count()).where(table.model == model.id)).one() for table in (Summary, Evaluation)]
    return Hanging(*counted)


def remove(session: Session, model: Model, *, with_results: bool = False) -> Path | None:
    """Remove a model's row; return the folder of its files, which no other model needs, for the caller to remove once this is committed.

    The training that made it may be asked for again afterwards.

    Raises:
        UserError: as in `check_removable`.
    """
    session.exec(select(func.pg_advisory_xact_lock(chains.REMOVAL_LOCK))).one()
    session.exec(select(Model).where(Model.id == model.id).with_for_update()).one()
    check_removable(session, model, with_results=with_results)
    for table in (Summary, Evaluation):
        session.execute(delete(table).where(col(table.model) == model.id))
    if model.job is not None:
        # The same recipe on the same examples is one job: without its old key it is asked for anew.
        renewed = col(Job.idempotency_key).concat(literal(f"/removed/{model.job}"))
        session.execute(update(Job).where(col(Job.id) == model.job).values(idempotency_key=renewed))
    session.execute(delete(Model).where(col(Model.id) == model.id))
    folder = additions.own_folder(model)
    # Of a whole model that was added, adapters may have been trained on it since.
    others = Model.adapter_uri == model.adapter_uri if folder is None else Model.base == model.base
    sharing = session.exec(select(func.count()).where(others)).one()
    return None if sharing else folder or model.adapter


def check_removable(session: Session, model: Model, *, with_results: bool = False) -> Hanging:
    """Return what hangs on a model and would go with it.

    Raises:
        UserError: it is in service, a chain, a running stream or a job that has not ended needs it, or summaries and evaluations hang
            on it and are not to go with it.
    """
    if serving := service.holding(session, model.id):
        where = ", ".join(service.place(row) for row in serving)
        away = "tweetmill rollback" + (f" --for {serving[0].stream}" if serving[0].stream is not None else "")
        raise UserError(f"model {model.name} is in service ({where}): promote another one in its place, or `{away}`, first")
    if held := chains.holding(session, model.id):
        raise UserError(f"model {model.name} is a part of the chain {held[0].name}: `tweetmill rm {held[0].name}` first")
    if (stream := _stream_that_needs(session, model)) is not None:
        raise UserError(f"model {model.name} writes for stream {stream.name}, which is running: stop it, and begin it again with another")
    if (job := _job_that_needs(session, model)) is not None:
        short = str(job.id)[:8]
        raise UserError(f"model {model.name} is in use by job {short} ({job.kind}): wait for its end, or `tweetmill cancel {short}`")
    found = hanging(session, model)
    if str(found) and not with_results:
        raise UserError(f"model {model.name} has {found}: they would go with it. Export them first, and give --with-results to remove all")
    return found


def remove_files(folder: Path) -> bool:
    """Remove the folder of a model that was removed; return whether it was there, in the models folder of this machine."""
    known = (get_settings().models_folder / name for name in ("adapters", additions.FOLDER))
    if folder.parent not in known or not folder.is_dir():
        return False
    doomed = folder.with_name(f".{folder.name}.removed")  # half of a removal must not look like a model
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)
    return True


def _job_that_needs(session: Session, model: Model) -> Job | None:
    payload = col(Job.payload)
    named = or_(payload["model_id"] == func.to_jsonb(model.id), payload["model_ids"].contains([model.id]))
    return session.exec(select(Job).where(col(Job.state).in_(_UNENDED), named).order_by(col(Job.created_at)).limit(1)).one_or_none()


def _stream_that_needs(session: Session, model: Model) -> Stream | None:
    """Return a stream that is read right now and looks this model up for each shard; it may have been named by its id, or as the latest."""
    running = select(Stream).where(Stream.state == "running", col(Stream.lease_until) > func.now()).order_by(col(Stream.name))
    for stream in session.exec(running):
        with suppress(NotFound):
            if models.resolve(session, stream.model).id == model.id:
                return stream
    return None


def rename(session: Session, model: Model, name: str) -> Model:
    """Give a model another name. Its files stay where they are, and what refers to it does so by its id.

    Raises:
        UserError: the name is taken, or is none.
    """
    try:
        name = _name.validate_python(name)
    except ValidationError as error:
        raise UserError(f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    if session.exec(select(Model.id).where(Model.name == name)).first() is not None:
        raise UserError(f"{name}: there is a model of this name already")
    model.name = name
    session.add(model)
    session.flush()
    return model
