"""Runs an evaluation job: scores a model and its baselines on held-back examples or references, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.payloads import EvaluationSpec
from schemas.tables.models import Model
from workers.catalog import model_card, models
from workers.database import session
from workers.evaluation import rows, slices
from workers.evaluation.lexnorm import job as lexnorm
from workers.evaluation.margins import paired
from workers.evaluation.prompting import PromptSystems
from workers.evaluation.slices import HEADLINE
from workers.evaluation.store import store
from workers.evaluation.systems import HeldBackRow, SystemOutputs, write
from workers.inference.writer import Writer
from workers.jobs.context import JobContext, Outcome
from workers.metrics.scores import Scores, score, summarize
from workers.scorers import optional
from workers.scorers.scorer import Rows, UnusableScorer


def evaluate(context: JobContext, spec: EvaluationSpec) -> Outcome:
    """Score the model of `spec` beside its baselines: by SARI, or by ERR where the references are normalised words."""
    with session() as opened:
        model = models.by_id(opened, spec.model_id)
        of_words = spec.references is not None and lexnorm.holds_gold(opened, spec.references)
    if of_words and (spec.similarity or spec.supported_by):
        raise UnusableScorer(f"{spec.references}: --similarity and --supported-by score texts, and these references are of words")
    return lexnorm.evaluate(context, spec, model) if of_words else _evaluate_texts(context, spec, model)


def _evaluate_texts(context: JobContext, spec: EvaluationSpec, model: Model) -> Outcome:
    with session() as opened:
        writer = Writer.of(opened, model, all_cores=True)
        scored = rows.of_references(opened, spec.references) if spec.references else rows.held_back(opened, [model])
        pool = rows.example_pool(opened, model, spec.few_shot, spec.example_sets, spec.seed)
    scored = scored[: spec.limit] if spec.limit else scored
    optional.check(spec)
    prompts = PromptSystems(writer, pool)
    passes = 1 + len(prompts.names) * (1 + spec.guard_prompts)
    written = write(writer, scored, prompts, _Shown(context, len(scored), passes), guard_prompts=spec.guard_prompts)
    texts = Rows([row.tweet for row in scored], [row.references for row in scored])
    extra, scorers = optional.score(context, spec, texts, written.outputs)
    result = report(scored, written, spec.resamples, spec.seed, extra)
    if scorers:
        result["scorers"] = scorers
    reference_set = spec.references or "test split"
    return Outcome(
        result=result | {"model": model.name, "references": reference_set},
        writes=lambda connection: store(connection, context, model.id, reference_set, result, tuple(written.outputs)),
        afterwards=lambda: model_card.refresh(model=model.id),
    )


class _Shown:
    """Shows how many of all rows of all systems are written, and stops where the job must."""

    def __init__(self, context: JobContext, count: int, passes: int) -> None:
        self._context = context
        self._rows = count
        self._total = count * passes
        self._done = 0

    def begin(self, system: str) -> None:
        """Show which system is at work."""
        self._context.progress(system=system, rows=self._rows)
        self.rows(0)

    def rows(self, newly: int) -> None:
        """Add rows."""
        self._done += newly
        self._context.progress(done=self._done, total=self._total)
        self._context.check()


def report(
    rows: Sequence[HeldBackRow], written: SystemOutputs, resamples: int, seed: int, extra: Mapping[str, Scores] | None = None
) -> dict[str, Any]:
    """Return the table as JSON.

    One entry for each system; `guard` is what the guard cost, `margins` are the tuned model's paired differences, `slices` the SARI of
    parts of the rows, `worst` the ids of each system's worst rows, and `long` all of the table for long tweets alone. `extra` are the
    scores of optional scorers, by system.
    """
    tweets, references = [row.tweet for row in rows], [row.references for row in rows]
    scores = {
        system: {**score(tweets, outputs, references), **(extra or {}).get(system, {})} for system, outputs in written.outputs.items()
    }
    table: dict[str, Any] = _table(scores, resamples, seed)
    table["guard"] = written.guard.as_dict()
    table["margins"] = _margins(scores, resamples, seed)
    table["slices"] = slices.table(rows, scores, resamples, seed, against="tuned")
    table["worst"] = {system: slices.worst(rows, of_system) for system, of_system in scores.items()}
    if written.choice:
        table["few_shot_best_of"] = written.choice
    is_long = slices.masks(rows).get("long")
    if is_long is not None:
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
    pairs = paired(scores, (("tuned", system) for system in scores if system != "tuned"), HEADLINE, resamples, seed)
    return {other: {HEADLINE: {"value": found.pop("difference"), **found}} for (_, other), found in pairs.items()}
