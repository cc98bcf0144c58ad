"""Chains: models that are two others in a row. The first cleans a tweet, the second summarises what the first wrote.

A chain has a row of its own in `model`, with the method `chain` and the ids of its parts in `details`; it has no weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from schemas.bounds import usable_name
from schemas.payloads import Stage
from schemas.tables.models import Model
from workers.catalog.additions import SERVED
from workers.errors import NotFound, UserError

CHAIN = "chain"
"""The method of a chain."""

REMOVAL_LOCK = 7_203_118
"""Postgres's advisory lock: held alone by whoever removes a model, and shared by whoever makes a chain of models."""

_LONGEST_NAME = 100


def parts(session: Session, model: Model) -> tuple[Model, ...]:
    """Return what writes in turn: a chain's cleaner and its summariser, or the model itself where it is no chain.

    Raises:
        UserError: a part of the chain is gone.
    """
    if model.method != CHAIN:
        return (model,)
    ids = _part_ids(model)
    found = {part.id: part for part in session.exec(select(Model).where(col(Model.id).in_(ids)))}
    gone = [str(part) for part in ids if part not in found]
    if gone or not ids:
        raise UserError(f"chain {model.name}: its part {', '.join(gone) or 'list'} is gone. Make another one with `tweetmill chain`")
    return tuple(found[part] for part in ids)


def holding(session: Session, model_id: int) -> Sequence[Model]:
    """Return the chains of which a model is a part: it must not be removed while there is one."""
    chains = select(Model).where(Model.method == CHAIN, col(Model.details)["parts"].contains([model_id]))
    return session.exec(chains.order_by(col(Model.id))).all()


def create(session: Session, cleaner: Model, summarizer: Model, name: str | None = None) -> tuple[Model, bool]:
    """Store the chain of two models, or find the one that there is; return it, and whether it is new. The caller commits.

    Raises:
        UserError: the two make no chain, or the name is taken or can't be used.
    """
    _check(cleaner, summarizer)
    ids = [cleaner.id, summarizer.id]
    # Neither can be removed before the chain is there to name it. A lock on their rows would need the right to change them.
    session.exec(select(func.pg_advisory_xact_lock_shared(REMOVAL_LOCK))).one()
    if len(session.exec(select(Model.id).where(col(Model.id).in_(ids))).all()) < len(set(ids)):
        raise NotFound(f"{cleaner.name} or {summarizer.name} was removed just now: `tweetmill models` lists those that there are")
    known = session.exec(select(Model).where(Model.method == CHAIN, col(Model.details)["parts"] == ids).order_by(col(Model.id))).first()
    if known is not None and name in (None, known.name):
        return known, False
    values = {
        "name": _usable(name or f"{cleaner.name}-then-{summarizer.name}"),
        "base": summarizer.base,
        "method": CHAIN,
        "stage": Stage.SUMMARY.value,
        "dataset": summarizer.dataset,
        "details": {"parts": ids},
    }
    new = session.exec(insert(Model).values(values).on_conflict_do_nothing().returning(col(Model.id))).scalar_one_or_none()
    if new is None:
        raise UserError(f"{values['name']}: there is another model of this name. Give the chain one with --name")
    made = session.get(Model, new)
    assert made is not None
    return made, True


def _check(cleaner: Model, summarizer: Model) -> None:
    for model, place, stage in ((cleaner, "first", Stage.CLEAN), (summarizer, "second", Stage.SUMMARY)):
        if model.method == CHAIN:
            raise UserError(f"model {model.name} is a chain: a chain is made of two trained models")
        if model.method == SERVED:
            raise UserError(f"model {model.name} is one of a server's: a chain is made of two models that one engine here holds")
        if model.stage != stage:
            raise UserError(
                f"model {model.name} is of the stage {model.stage}: the {place} model of a chain is one of the stage {stage.value}"
                f" (`stage: {stage.value}` in its training recipe)"
            )
    if cleaner.base != summarizer.base:
        raise UserError(
            f"model {cleaner.name} is on the base {cleaner.base}, {summarizer.name} on {summarizer.base}: a chain's models share one base,"
            " so that one engine holds both. Train them on the same base"
        )


def _usable(name: str) -> str:
    if len(name) > _LONGEST_NAME:
        raise UserError(f"{name}: the name is longer than {_LONGEST_NAME} characters. Give a shorter one with --name")
    try:
        return usable_name(name)
    except ValueError as error:
        raise UserError(f"--name {name}: {error}") from None


def _part_ids(model: Model) -> list[int]:
    return [int(part) for part in model.details.get("parts", [])]
