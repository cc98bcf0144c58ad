"""An evaluation job: held-back examples in, a table with intervals out, beside the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from schemas.payloads import EvaluationSpec, Stage
from schemas.tables.models import Model
from workers.catalog import models
from workers.database import session_on, transaction
from workers.errors import UserError
from workers.evaluation import metrics
from workers.evaluation.bootstrap import difference
from workers.evaluation.lexnorm import job as cleaning
from workers.evaluation.metrics import Scores
from workers.evaluation.store import store
from workers.evaluation.systems import Row, Written, write
from workers.inference.engines import get_engine
from workers.jobs.context import JobContext, Outcome

LONG_TWEET_WORDS = 20
"""Tweets of more words than this are where summarising means choosing: they get a table of their own."""


def evaluate(attempt: JobContext, spec: EvaluationSpec) -> Outcome:
    """Score the model of `spec` and everything that it must beat; on references of words, by ERR."""
    with transaction() as connection, session_on(connection) as session:
        model = models.by_id(session, spec.model_id)
        of_words = spec.references is not None and cleaning.holds_gold(connection, spec.references)
    return cleaning.evaluate(attempt, spec, model) if of_words else _evaluate_texts(attempt, spec, model)


def _evaluate_texts(attempt: JobContext, spec: EvaluationSpec, model: Model) -> Outcome:
    with transaction() as connection:
        rows = _references(connection, spec.references) if spec.references else _held_back(connection, model)
        shots = _shots(connection, model, spec)
    rows = rows[: spec.limit] if spec.limit else rows
    if not rows:
        raise UserError(f"model {model.name}: its dataset has no test examples; give --references FILE.jsonl")

    def on_step(system: str) -> None:
        attempt.progress(system=system, rows=len(rows))
        attempt.check()

    written = write(get_engine(model.base, all_cores=True), model.adapter, rows, shots, Stage(model.stage), on_step)
    result = report(rows, written, spec.resamples, spec.seed)
    reference_set = spec.references or "test split"
    return Outcome(
        result=result | {"model": model.name, "references": reference_set},
        writes=lambda connection: store(connection, attempt, model.id, reference_set, result, tuple(written.outputs)),
    )


def report(rows: Sequence[Row], written: Written, resamples: int, seed: int) -> dict[str, Any]:
    """The table as JSON: one entry a system, the same for long tweets under `long`, what the guard costs, and paired differences."""
    tweets, references = [row.tweet for row in rows], [row.reference for row in rows]
    scores = {system: metrics.score(tweets, outputs, references) for system, outputs in written.outputs.items()}
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
        system: {metric: figure.as_dict() for metric, figure in metrics.summarize(of_system, resamples, seed).items()}
        for system, of_system in scores.items()
    }


def _margins(scores: Mapping[str, Scores], resamples: int, seed: int) -> dict[str, Any]:
    """By how much the tuned model's SARI beats each other system on the same rows: below 0 it loses."""
    tuned = scores["tuned"]["sari"]
    return {
        system: {"sari": difference(tuned, of_system["sari"], resamples, seed).as_dict()}
        for system, of_system in scores.items()
        if system != "tuned"
    }


def _held_back(connection: Connection, model: Model) -> list[Row]:
    """The test split of the dataset that the model learnt from.

    Raises:
        UserError: the dataset was rebuilt since, so what is held back now may be what the model learnt.
    """
    now = connection.execute(text("SELECT fingerprint FROM dataset WHERE id = :dataset"), {"dataset": model.dataset}).scalar()
    if model.dataset_fingerprint is not None and now != model.dataset_fingerprint:
        raise UserError(f"model {model.name}: its dataset was rebuilt after it was trained; train again, or give --references FILE.jsonl")
    rows = connection.execute(
        text(
            "SELECT key, prompt_text, target_text FROM example "
            "WHERE dataset = :dataset AND split = 'test' AND stage = :stage AND origin IN ('human', 'import') ORDER BY key"
        ),
        {"dataset": model.dataset, "stage": model.stage},
    )
    return [Row(id=row.key, tweet=row.prompt_text, reference=row.target_text) for row in rows]


def _references(connection: Connection, collection: str) -> list[Row]:
    rows = connection.execute(
        text("SELECT key, text, summary FROM curated WHERE collection = :collection AND text IS NOT NULL ORDER BY position"),
        {"collection": collection},
    )
    return [Row(id=row.key, tweet=row.text, reference=row.summary) for row in rows]


def _shots(connection: Connection, model: Model, spec: EvaluationSpec) -> list[tuple[str, str]]:
    """Examples for the few-shot prompt: curated ones that the model learnt from, else imported ones, drawn by the seed."""
    rows = connection.execute(
        text(
            "SELECT prompt_text, target_text FROM example "
            "WHERE dataset = :dataset AND split = 'train' AND stage = :stage AND origin IN ('human', 'import') "
            "ORDER BY origin = 'human' DESC, md5(:seed || key) LIMIT :limit"
        ),
        {"dataset": model.dataset, "stage": model.stage, "seed": str(spec.seed), "limit": spec.few_shot},
    )
    return [(row.prompt_text, row.target_text) for row in rows]
