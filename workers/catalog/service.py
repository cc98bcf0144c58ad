"""Says which model is in service for a stream, puts another one there, and goes back to the one before.

The table `promotion` is the history. A stream without a row of its own follows the default. What is in service is read anew for each
shard, so that a promotion takes effect at the next one, in every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, update
from sqlmodel import Session, col, desc, or_, select

from schemas.payloads import Stage
from schemas.tables.models import Model
from schemas.tables.service import Promotion
from schemas.tables.streams import Stream
from workers.catalog import additions, chains
from workers.catalog.shard_models import InService
from workers.errors import NotFound, UserError

LARGEST_SHARE = 50
"""Percent of the shards that a canary may get: each block needs a shard of the model in service too."""

IN_SERVICE = "in-service"
"""What names the model in service instead of a model's name."""

_LOCK = 7_203_119
_HELD = ("in_service", "canary")


@dataclass(frozen=True)
class Change:
    """What a promotion or a rollback did: `stream` is None for the default, `before` and `after` are the names of models."""

    stream: str | None
    before: str | None
    after: str | None
    share: int | None = None
    stopped_canary: str | None = None


def in_service(session: Session, stream: str | None) -> InService:
    """Return what writes for a stream; None: for what belongs to no stream.

    Raises:
        NotFound: no model is in service for it, and none by default.
    """
    held = _held(session, stream)
    serving = held.get((stream, "in_service")) or held.get((None, "in_service"))
    if serving is None or serving.model is None:
        raise NotFound(f"no model is in service{_for(stream)}: `tweetmill promote MODEL` puts one there")
    canary = held.get((stream, "canary")) or held.get((serving.stream, "canary"))
    if canary is None or canary.model is None or canary.incumbent != serving.model:
        return InService(serving.model)
    return InService(serving.model, canary.model, canary.share or 0, canary.id)


def decides(session: Session, stream: str, begun_with: str) -> bool:
    """Whether what is in service decides who writes for a stream, or the model that it was begun with does.

    A model that was put in service for this stream alone goes before any that it was begun with.
    """
    return begun_with == IN_SERVICE or (stream, "in_service") in _held(session, stream)


def promote(session: Session, model: Model, stream: str | None, *, share: int | None = None, auto: bool = False) -> Change:
    """Put a model in service for a stream, from the next shard on; with `share` as a canary for that percent of the shards.

    A canary that runs for the stream ends with it. The caller commits.

    Raises:
        UserError: the model can't write summaries or its files are gone, it is in service there already, or there is nothing in service
            that a canary could be compared with.
    """
    lock(session)
    check_servable(session, model)
    held = _held(session, stream)
    own = held.get((stream, "in_service"))
    serving = own or held.get((None, "in_service"))
    before = serving.name if serving is not None else None
    if share is not None:
        if stream is not None:
            _check_follows(session, stream)
        _start_canary(session, model, stream, serving, share, auto)
        return Change(stream, before, model.name, share)
    if own is not None and own.model == model.id:
        raise UserError(f"model {model.name} is in service{_for(stream)} already")
    put(session, model, stream, "promote")
    return Change(stream, before, model.name)


def put(session: Session, model: Model, stream: str | None, command: str) -> None:
    """Put a model in the place of the stream's own so far, and end its canary. Whoever calls it holds the `lock`."""
    held = _held(session, stream)
    own, canary = held.get((stream, "in_service")), held.get((stream, "canary"))
    if canary is not None:
        end(session, canary, "replaced", "promoted in full" if canary.model == model.id else f"{model.name} was promoted")
    if own is not None:
        end(session, own, "replaced", f"{model.name} was promoted")
    previous = own.id if own is not None else None
    _add(session, model, stream, state="in_service", command=command, previous=previous)
    _end_orphaned_canaries(session)


def rollback(session: Session, stream: str | None) -> Change:
    """Stop the canary of a stream, or where none runs go back to the model that was in service before. The caller commits.

    A stream whose first model is taken back follows the default again.

    Raises:
        UserError: nothing is in service, or there is nothing before it that can be used.
    """
    lock(session)
    held = _held(session, stream)
    own, canary = held.get((stream, "in_service")), held.get((stream, "canary"))
    if canary is not None:
        end(session, canary, "stopped", "rolled back")
        serving = own or held.get((None, "in_service"))
        return Change(stream, canary.name, serving.name if serving is not None else None, stopped_canary=canary.name)
    if own is None:
        follows = "it follows the default, which `tweetmill rollback` takes back" if stream is not None else "there is nothing to take back"
        raise UserError(f"no model of its own is in service{_for(stream)}: {follows}")
    previous = session.get(Promotion, own.previous) if own.previous is not None else None
    default = held.get((None, "in_service"))
    if previous is None and (stream is None or default is None):
        raise UserError(f"model {own.name} is the first in service{_for(stream)}: `tweetmill promote` puts another one in its place")
    end(session, own, "replaced", "rolled back")
    after = default if previous is None else previous
    assert after is not None
    if previous is not None:
        model = session.get(Model, previous.model) if previous.model is not None else None
        if model is None:
            raise UserError(f"model {previous.name} was in service before and has been removed since: promote another one")
        check_servable(session, model)
        _add(session, model, stream, state="in_service", command="rollback", previous=previous.previous)
    _end_orphaned_canaries(session)
    return Change(stream, own.name, after.name)


def check_servable(session: Session, model: Model) -> None:
    """Make sure that a model writes summaries and that its files are there, as far as this machine sees them.

    Raises:
        UserError: it is of another stage, or files are gone.
    """
    if model.stage != Stage.SUMMARY:
        raise UserError(
            f"model {model.name} is of the stage {model.stage}, and a model in service writes summaries: promote one of the stage summary,"
            " or a chain (`tweetmill chain CLEANER SUMMARIZER`)"
        )
    check_files(session, model)


def check_files(session: Session, model: Model) -> None:
    """Make sure that the files of a model are there, as far as this machine sees them.

    Raises:
        UserError: files, or a part of a chain, are gone.
    """
    for part in chains.parts(session, model):
        folder = part.adapter or additions.own_folder(part)
        # The files may lie on the workers alone: then nothing of the folder above is here either.
        if folder is not None and folder.parent.is_dir() and not (folder.is_dir() and any(folder.iterdir())):
            raise UserError(f"model {part.name}: its files in {folder} are gone. Train it again, or promote another one")


def end(session: Session, row: Promotion, state: str, reason: str) -> None:
    """End a promotion: `state` is replaced or stopped."""
    session.execute(
        update(Promotion).where(col(Promotion.id) == row.id).values(state=state, reason=reason, ended_at=func.now()),
        execution_options={"synchronize_session": False},
    )


def history(session: Session, stream: str | None = None, limit: int = 20) -> Sequence[Promotion]:
    """Return the newest promotions, of all streams or of one."""
    query = select(Promotion).order_by(desc(col(Promotion.id))).limit(limit)
    return session.exec(query if stream is None else query.where(Promotion.stream == stream)).all()


def canaries(session: Session, stream: str | None = None) -> Sequence[Promotion]:
    """Return the canaries that run, of all streams or of one."""
    query = select(Promotion).where(Promotion.state == "canary").order_by(col(Promotion.id))
    return session.exec(query if stream is None else query.where(Promotion.stream == stream)).all()


def place(row: Promotion) -> str:
    """Return where a promotion puts its model, in words: `default` or the stream's name, a canary with its share."""
    return (row.stream or "default") + (f" {row.share}%" if row.state == "canary" else "")


def places(session: Session) -> dict[int, list[str]]:
    """Return where each model is in service now, by its id, as `place` says it."""
    found: dict[int, list[str]] = {}
    query = select(Promotion).where(col(Promotion.state).in_(_HELD)).order_by(col(Promotion.stream).nulls_first(), col(Promotion.id))
    for row in session.exec(query):
        if row.model is not None:
            found.setdefault(row.model, []).append(place(row))
    return found


def holding(session: Session, model_id: int) -> Sequence[Promotion]:
    """Return the promotions by which a model is in service now: it must not be removed while there is one."""
    query = select(Promotion).where(Promotion.model == model_id, col(Promotion.state).in_(_HELD))
    return session.exec(query.order_by(col(Promotion.stream).nulls_first(), col(Promotion.id))).all()


def lock(session: Session) -> None:
    """Hold what is in service as it is until the transaction ends; models can't be removed meanwhile."""
    session.exec(select(func.pg_advisory_xact_lock_shared(chains.REMOVAL_LOCK))).one()
    session.exec(select(func.pg_advisory_xact_lock(_LOCK))).one()


def _held(session: Session, stream: str | None) -> dict[tuple[str | None, str], Promotion]:
    """Return what is in service and what runs as a canary for a stream and by default, by stream and state."""
    concerned = or_(col(Promotion.stream).is_(None), Promotion.stream == stream)
    found = session.exec(select(Promotion).where(col(Promotion.state).in_(_HELD), concerned))
    return {(row.stream, row.state): row for row in found}


def _start_canary(session: Session, model: Model, stream: str | None, serving: Promotion | None, share: int, auto: bool) -> None:
    if not 1 <= share <= LARGEST_SHARE:
        raise UserError(f"a share of {share} percent: a canary gets 1 to {LARGEST_SHARE}. Without --share the model gets all shards")
    if serving is None:
        raise UserError(f"no model is in service{_for(stream)} that a canary could be compared with: promote one without --share first")
    if serving.model == model.id:
        raise UserError(f"model {model.name} is in service{_for(stream)} already: a canary is another model")
    running = session.exec(select(Promotion).where(Promotion.state == "canary", _is(stream))).one_or_none()
    if running is not None:
        if running.model == model.id and running.share == share:
            raise UserError(f"model {model.name} is a canary{_for(stream)} already. `tweetmill promotions` shows how it does")
        end(session, running, "replaced", f"{model.name} became the canary")
    _add(session, model, stream, state="canary", command="promote", incumbent=serving.model, share=share, auto=auto)


def _add(session: Session, model: Model, stream: str | None, **values: Any) -> None:
    session.execute(insert(Promotion).values(stream=stream, model=model.id, name=model.name, **values))


def _check_follows(session: Session, stream: str) -> None:
    """Make sure that a stream without a model of its own in service follows the default, or no shard would be the canary's."""
    named = session.exec(select(Stream.model).where(Stream.name == stream)).one_or_none()
    if named is not None and not decides(session, stream, named):
        first = f"`tweetmill promote {named} --for {stream}`"
        raise UserError(f"stream {stream} was begun with the model {named}, which is not in service for it: {first} first, then the canary")


def _end_orphaned_canaries(session: Session) -> None:
    """End the canaries whose model of comparison is not in service any more, such as those of streams that follow the default."""
    running = session.exec(select(Promotion).where(Promotion.state == "canary")).all()
    serving = {row.stream: row for row in session.exec(select(Promotion).where(Promotion.state == "in_service"))}
    for canary in running:
        compared = serving.get(canary.stream) or serving.get(None)
        if compared is None or compared.model != canary.incumbent:
            end(session, canary, "replaced", "another model came in service than it was compared with")


def _is(stream: str | None) -> Any:
    return col(Promotion.stream).is_(None) if stream is None else Promotion.stream == stream


def _for(stream: str | None) -> str:
    return " by default" if stream is None else f" for {stream}"
