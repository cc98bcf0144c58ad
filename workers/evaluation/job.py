"""Runs an evaluation job: scores a model and its baselines on held-back examples or references, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from schemas.payloads import EvaluationSpec
from schemas.tables.models import Model
from workers.catalog import model_card, models
from workers.database import session
from workers.evaluation import queries, rows
from workers.evaluation.lexnorm import job as lexnorm
from workers.evaluation.store import store
from workers.evaluation.systems import HeldBackRow, SystemOutputs, write
from workers.inference.writer import Writer
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
        writer = Writer.of(opened, model, all_cores=True)
        scored = rows.of_references(opened, spec.references) if spec.references else rows.held_back(opened, [model])
        examples = queries.shots(opened, model.dataset, model.stage, spec.few_shot, spec.seed)
    shots = [(example.prompt_text, example.target_text) for example in examples]
    scored = scored[: spec.limit] if spec.limit else scored

    def on_step(system: str) -> None:
        context.progress(system=system, rows=len(scored))
        context.check()

    written = write(writer, scored, shots, on_step)
    result = report(scored, written, spec.resamples, spec.seed)
    reference_set = spec.references or "test split"
    return Outcome(
        result=result | {"model": model.name, "references": reference_set},
        writes=lambda connection: store(connection, context, model.id, reference_set, result, tuple(written.outputs)),
        afterwards=lambda: model_card.refresh(model=model.id),
    )


def report(rows: Sequence[HeldBackRow], written: SystemOutputs, resamples: int, seed: int) -> dict[str, Any]:
    """Return the table as JSON: one entry for each system, the same for long tweets under `long`, the guard's cost, paired differences."""
    tweets, references = [row.tweet for row in rows], [row.references for row in rows]
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
