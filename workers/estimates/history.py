"""Looks up in Postgres what an estimate needs of the past: the size of a dataset, and how fast a like training went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import desc
from sqlmodel import Session, col, select

from schemas.payloads import Stage
from schemas.tables.datasets import Dataset
from schemas.tables.models import Model
from schemas.training import TrainingSpec
from workers.catalog.examples import training_examples
from workers.text import prompts

_CHARACTERS_A_TOKEN = 4.0
_TEMPLATE_TOKENS = 20  # of a chat template around one prompt and its answer


@dataclass(frozen=True)
class DatasetSize:
    """What a training learns from in an epoch: lines, what people wrote as often as it is repeated, and about how many tokens they have."""

    lines: int
    tokens: int


def size_of(session: Session, spec: TrainingSpec) -> DatasetSize | None:
    """Return the size of what the recipe learns from, None where there is nothing. Tokens go by the characters, instructions included."""
    dataset = session.exec(select(Dataset.id).where(Dataset.name == spec.dataset)).one_or_none()
    there = training_examples.amount(session, dataset, spec) if dataset is not None else None
    if there is None or not there.lines:
        return None
    instruction = sum(len(message.content) for message in prompts.tuned("", Stage(spec.stage)))
    each = instruction / _CHARACTERS_A_TOKEN + _TEMPLATE_TOKENS
    return DatasetSize(there.lines, int(there.characters / _CHARACTERS_A_TOKEN + there.lines * each))


def tokens_of_run(spec: TrainingSpec, size: DatasetSize) -> int:
    """Return about how many tokens a run of the recipe sees, padding excluded."""
    if spec.max_steps > 0:
        return int(spec.max_steps * spec.global_batch * size.tokens / size.lines)
    return int(size.tokens * spec.num_train_epochs)


def last_rate(session: Session, spec: TrainingSpec) -> float | None:
    """Return the tokens a second of all ranks in the newest training of this base by this method, None where there was none.

    Only those of the same base, method, number of ranks and `gradient_checkpointing` are alike enough. The base goes by its folder's name.
    """
    query = select(Model.details, Model.base).where(Model.method == spec.method).order_by(desc(col(Model.id))).limit(200)
    for details, base in session.exec(query):
        recipe = details.get("spec", {})
        alike = all(
            recipe.get(key, default) == getattr(spec, key) for key, default in (("world_size", 1), ("gradient_checkpointing", False))
        )
        rate = details.get("tokens_per_second") or _rate(details)
        if alike and rate and Path(base).name == Path(spec.base).name:
            return float(rate)
    return None


def _rate(details: Mapping[Any, Any]) -> float | None:
    tokens, seconds = details.get("tokens"), details.get("seconds")
    return float(tokens) / float(seconds) if tokens and seconds else None
