"""Returns the rows that systems are scored on: references, or held-back examples that none of the models has learnt from."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from schemas.tables.models import Model
from workers.catalog import chains
from workers.errors import UserError
from workers.evaluation import queries
from workers.evaluation.prompting import ExamplePool
from workers.evaluation.systems import HeldBackRow


def of_references(session: Session, collection: str) -> list[HeldBackRow]:
    """Return the rows of a file of references, in its order."""
    rows = queries.references(session, collection)
    sources = queries.sources_of_references(session, collection)
    return [
        HeldBackRow(id=row.key, tweet=row.text or "", references=(row.summary or "", *row.other_summaries), source=sources.get(row.key))
        for row in rows
    ]


def held_back(session: Session, models: Sequence[Model]) -> list[HeldBackRow]:
    """Return what the datasets of all `models` hold back: of several datasets, the rows whose tweets lie in the test split of each.

    A chain has learnt what its parts have. A model without a dataset has learnt nothing here.

    Raises:
        UserError: there are no such rows, or a dataset was rebuilt since, so that its test split may hold what a model was trained on.
    """
    learnt = [part for model in models for part in chains.parts(session, model) if part.dataset is not None]
    for part in learnt:
        if part.dataset_fingerprint is not None and queries.current_fingerprint(session, part.dataset) != part.dataset_fingerprint:
            raise UserError(
                f"model {part.name}: its dataset was rebuilt after it was trained; train again, or give --references FILE.jsonl"
            )
    datasets = list(dict.fromkeys(part.dataset for part in learnt if part.dataset is not None))
    rows = queries.held_back(session, datasets, models[0].stage) if datasets else ()
    if not rows:
        raise UserError(_nothing_held_back(models, datasets))
    sources = queries.sources_of_held_back(session, datasets[0])
    return [
        HeldBackRow(id=row.key, tweet=row.prompt_text, references=(row.target_text,), source=sources.get(row.tweet or "")) for row in rows
    ]


def example_pool(session: Session, model: Model, shots: int, sets: int, seed: int) -> ExamplePool:
    """Return the pairs of the training split of a model's dataset that prompts may show, drawn by the seed."""
    pairs = queries.shots(session, model.dataset, model.stage, ExamplePool.needed(shots, sets), seed)
    return ExamplePool.of([(pair.prompt_text, pair.target_text) for pair in pairs], shots, sets)


def _nothing_held_back(models: Sequence[Model], datasets: Sequence[int]) -> str:
    names = ", ".join(model.name for model in models)
    if len(datasets) > 1:
        return (
            f"models {names}: they learnt from {len(datasets)} datasets, which hold back no tweet in common, so that each may have learnt"
            " what another is tested on; give --references FILE.jsonl, of tweets that none of them has seen"
        )
    return f"model {names}: its dataset has no test examples; give --references FILE.jsonl"
