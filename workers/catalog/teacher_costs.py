"""Reads what a teacher took for the pairs of a dataset that it wrote."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, desc, select

from schemas.states import JobState
from schemas.tables.datasets import Dataset
from schemas.tables.jobs import Job

_SYNTHESIZE = "synthesis.synthesize"


@dataclass(frozen=True)
class TeacherCost:
    """What a pair of a teacher's took.

    Attributes:
        model: the teacher's name.
        usd: of a pair that could be learnt from, by the recipe's prices; 0 for a teacher without a price.
        seconds: of such a pair, as long as the asking lasted.
        asked: tweets that this is the mean of.
    """

    model: str
    usd: float
    seconds: float
    asked: int


def of_dataset(session: Session, dataset: Dataset) -> TeacherCost | None:
    """Return what the newest paid answers for a dataset, or for the one that it was reviewed from, took; None where no teacher was asked.

    Answers that were known before cost nothing and are no part of the mean. Those that filters kept out were paid all the same: they count
    in the price of the others.
    """
    names = [dataset.name, dataset.recipe.get("reviewed", {}).get("dataset", dataset.name)]
    teacher = col(Job.result)["teacher"]
    query = (
        select(teacher)
        .where(Job.kind == _SYNTHESIZE, col(Job.payload)["dataset"].astext.in_(names), col(Job.state) == JobState.DONE)
        .where(teacher["asked"].as_integer() > 0)
        .order_by(desc(col(Job.finished_at)))
        .limit(1)
    )
    found = session.exec(query).first()
    if found is None or not found.get("accepted"):
        return None
    kept = found["accepted"] / (found["accepted"] + found.get("rejected", 0))
    asked = found["asked"]
    return TeacherCost(found.get("model", ""), found["usd"] / asked / kept, found["seconds"] / asked / kept, asked)
