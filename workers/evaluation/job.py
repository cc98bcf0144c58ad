"""Runs an evaluation job: scores a model and its baselines on held-back examples or references, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlmodel import Session

from schemas.payloads import EvaluationSpec, Stage
from schemas.tables.models import Model
from workers.catalog import models
from workers.database import session
from workers.errors import UserError
from workers.evaluation import queries
from workers.evaluation.lexnorm import job as lexnorm
from workers.evaluation.store import store
from workers.evaluation.systems import HeldBackRow, SystemOutputs, write
from workers.inference.engines import engine_for
from workers.jobs.context import JobContext, Outcome
from workers.metrics.bootstrap import difference
from workers.metrics.scores import Scores, score, summarize

LONG_TWEET_WORDS = 20
"""Tweets of more words than this get a table of their own: there a summary has to choose."""


def evaluate(context: JobContext, spec: EvaluationSpec) -> Outcome:
    """Score the model of `spec` beside its baselines: by SARI, or by ERR where the references are normalised words."""
    with session() as opened:
        model = models.by_id(opened, spec.model_id)
        of_words = spec.references is not None and lexnorm.holds_gold(opened, spec.references)
    return lexnorm.evaluate(context, spec, model) if of_words else _evaluate_texts(context, spec, model)


def _evaluate_texts(context: JobContext, spec: EvaluationSpec, model: Model) -> Outcome:
    with session() as opened:
        rows = _references(opened, spec.references) if spec.references else _held_back(opened, model)
        examples = queries.shots(opened, model.dataset, model.stage, spec.few_shot, spec.seed)
    shots = [(example.prompt_text, example.target_text) for example in examples]
    rows = rows[: spec.limit] if spec.limit else rows
    if not rows:
        raise UserError(f"model {model.name}: its dataset has no test examples; give --references FILE.jsonl")

    def on_step(system: str) -> None:
        context.progress(system=system, rows=len(rows))
        context.check()

    written = write(engine_for(model.base, all_cores=True), model.adapter, rows, shots, Stage(model.stage), on_step)
    result = report(rows, written, spec.resamples, spec.seed)
    reference_set = spec.references or "test split"
    return Outcome(
        result=result | {"model": model.name, "references": reference_set},
        writes=lambda connection: store(connection, context, model.id, reference_set, result, tuple(written.outputs)),
    )


def report(rows: Sequence[HeldBackRow], written: SystemOutputs, resamples: int, seed: int) -> dict[str, Any]:
    """Return the table as JSON: one entry for each system, the same for long tweets under `long`, the guard's cost, paired differences."""
    tweets, references = [row.tweet for row in rows], [row.reference for row in rows]
    scores = {system: score(tweets, outputs, references) for system, outputs in written.outputs.items()}
    is_long = np.array([len(tweet.split()) > LONG_TWEET_WORDS for tweet in tweets])
    table: dict[str, Any] = _table(scores, resamples, seed)
    table["guard"] = written.guard.as_dict()
    table["margins"] = _margins(scores, resamples, seed)
    if is_long.any():
        long = {system: {metric: values[is_long] for metric, values in of_system.items()} for system, of_system in scores.items()}
        table["long"] = _table(long, resamples, seed) | {"margins": _margins(long, resamples, seed)}
    return table


def _table(scores: Mapping[str, Scores], resamples: int, seed: int) -> dict[str, Any]:
    return {
        system: {metric: figure.as_dict() for metric, figure in summarize(of_system, resamples, seed).items()}
        for system, of_system in scores.items()
    }


def _margins(scores: Mapping[str, Scores], resamples: int, seed: int) -> dict[str, Any]:
    """Return by how much the tuned model's SARI is above each other system's on the same rows."""
    tuned = scores["tuned"]["sari"]
    return {
        system: {"sari": difference(tuned, of_system["sari"], resamples, seed).as_dict()}
        for system, of_system in scores.items()
        if system != "tuned"
    }


def _held_back(session: Session, model: Model) -> list[HeldBackRow]:
    """Return the test split of the dataset that the model was trained on.

    Raises:
        UserError: the dataset was rebuilt since, so that its test split may hold what the model was trained on.
    """
    if model.dataset_fingerprint is not None and queries.current_fingerprint(session, model.dataset) != model.dataset_fingerprint:
        raise UserError(f"model {model.name}: its dataset was rebuilt after it was trained; train again, or give --references FILE.jsonl")
    rows = queries.held_back(session, model.dataset, model.stage)
    return [HeldBackRow(id=row.key, tweet=row.prompt_text, reference=row.target_text) for row in rows]


def _references(session: Session, collection: str) -> list[HeldBackRow]:
    rows = queries.references(session, collection)
    return [HeldBackRow(id=row.key, tweet=row.text or "", reference=row.summary or "") for row in rows]
