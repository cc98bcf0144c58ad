"""What datasets lost because tweets were forgotten, and which models may have learnt from it.

The rows are gone. A dataset keeps the fingerprint of all that it had, so that what was trained on it can still be told, and counts what
was taken back; a model remembers how far that count was when its training read the examples. A training that starts later learns from
what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, text
from sqlmodel import Session, col, select

from schemas.payloads import Stage
from schemas.tables.forgetting import TakenBack
from schemas.tables.models import Model
from workers.catalog import chains
from workers.errors import UserError

BEFORE = "taken_back_before"
"""In a model's details: what was taken back of its dataset before its training read the examples."""

# A training that runs has read its examples, and has no row of a model yet.
_LOSSES = """
SELECT dataset.id, dataset.name,
       (SELECT coalesce(jsonb_agg(model.name ORDER BY model.id), '[]') FROM model WHERE model.dataset = dataset.id) AS models,
       (SELECT coalesce(jsonb_agg(job.id ORDER BY job.created_at), '[]') FROM job
        WHERE job.kind = 'training.train' AND job.state = 'running' AND job.payload->>'dataset' = dataset.name) AS trainings
FROM dataset WHERE dataset.id = ANY(:ids) ORDER BY dataset.name
"""
_ADD = """
INSERT INTO taken_back (dataset, stage, split, examples) VALUES (:dataset, :stage, :split, :examples)
ON CONFLICT (dataset, stage, split) DO UPDATE SET examples = taken_back.examples + excluded.examples, taken_at = now()
"""


@dataclass(frozen=True)
class Loss:
    """A dataset that lost examples, and what may have learnt from them.

    Attributes:
        dataset: its name.
        examples: how many it lost.
        models: that were trained on it; their weights may remember.
        trainings: jobs that run on it now, and go on.
    """

    dataset: str
    examples: int
    models: tuple[str, ...] = ()
    trainings: tuple[str, ...] = ()


def losses(connection: Connection, lost: Mapping[int, int]) -> tuple[Loss, ...]:
    """Return what datasets lost, given as examples by their ids, by name."""
    if not lost:
        return ()
    rows = connection.execute(text(_LOSSES), {"ids": list(lost)})
    return tuple(Loss(row.name, lost[row.id], tuple(row.models), tuple(row.trainings)) for row in rows)


def merged(found: Iterable[Loss]) -> tuple[Loss, ...]:
    """Return losses with those of one dataset added up, by name."""
    by_name: dict[str, Loss] = {}
    for loss in found:
        before = by_name.get(loss.dataset, Loss(loss.dataset, 0))
        by_name[loss.dataset] = Loss(
            loss.dataset,
            before.examples + loss.examples,
            tuple(dict.fromkeys((*before.models, *loss.models))),
            tuple(dict.fromkeys((*before.trainings, *loss.trainings))),
        )
    return tuple(by_name[name] for name in sorted(by_name))


def add(connection: Connection, dataset: int, counts: Mapping[tuple[str, str], int]) -> None:
    """Count examples that a dataset lacks, by stage and split: their tweets were forgotten while it was built."""
    rows = [{"dataset": dataset, "stage": stage, "split": split, "examples": counts[stage, split]} for stage, split in sorted(counts)]
    if rows:
        connection.execute(text(_ADD), rows)


def of_dataset(session: Session, dataset: int, stages: Iterable[Stage] | None = None, split: str | None = None) -> int:
    """Return how many examples were taken back of a dataset; of some stages or of one split alone where they are named."""
    query = select(func.coalesce(func.sum(TakenBack.examples), 0)).where(TakenBack.dataset == dataset)
    if stages is not None:
        query = query.where(col(TakenBack.stage).in_([stage.value for stage in stages]))
    return int(session.exec(query if split is None else query.where(TakenBack.split == split)).one())


def total(session: Session) -> int:
    """Return how many examples were ever taken back: it grows whenever one is."""
    return int(session.exec(select(func.coalesce(func.sum(TakenBack.examples), 0))).one())


def to_learn_from(session: Session, dataset: int, stage: Stage, learn_from: str) -> int:
    """Return how many examples were taken back of those that a training of this stage reads: with `clean` those of clean texts too."""
    stages = {stage, Stage.CLEAN} if learn_from == "clean" else {stage}
    return of_dataset(session, dataset, stages, "train")


def since(examples: int) -> str:
    """Return in a sentence what that means for a model that was trained on them."""
    were = "1 example of its dataset was" if examples == 1 else f"{examples:,} examples of its dataset were"
    return f"{were} taken back since it was trained: its weights may remember them. Train again to be rid of them."


def of_model(session: Session, model: Model) -> int:
    """Return how many examples were taken back that a model may have learnt from; of a chain all that its parts may."""
    try:
        parts = chains.parts(session, model)
    except UserError:  # a part is gone: nothing is known of it
        parts = ()
    return sum(_since_its_training(session, part) for part in parts)


def _since_its_training(session: Session, model: Model) -> int:
    if model.dataset is None:
        return 0
    learn_from = str(model.details.get("spec", {}).get("learn_from", "tweet"))
    return max(0, to_learn_from(session, model.dataset, Stage(model.stage), learn_from) - int(model.details.get(BEFORE, 0)))
