"""Runs the optional scorers that an evaluation or a comparison asks for, one after the other, each freed before the next is loaded."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.payloads import JudgeSpec, Scored, Stage
from workers.jobs.context import JobContext
from workers.metrics.sari import sentence_sari
from workers.scorers.agreement import figures
from workers.scorers.judge import judge_of
from workers.scorers.scorer import Array, Outputs, Rows, Scorer

ScoresOf = dict[str, dict[str, Array]]
"""By system and metric one score a row."""


_TRIAL = Rows(["The bus to the harbour was late again."], [("The bus was late again.",)])


def check(spec: Scored, judge: JudgeSpec | None = None, stage: Stage = Stage.SUMMARY) -> None:
    """Load each optional scorer once and ask the judge one question: what can't be used fails before the systems write, not after.

    Raises:
        UnusableScorer: a scorer can't be used; says what to do.
        UserError: the judge can't be used.
        EngineError: it answers nothing.
    """
    for build in _asked(spec):
        build()
    if judge is not None:
        with judge_of(judge, stage) as judging:
            judging.compare(_TRIAL, ["The bus was late."], ["A bus came."], lambda _: None)


def score(context: JobContext, spec: Scored, rows: Rows, outputs: Outputs) -> tuple[ScoresOf, dict[str, Any]]:
    """Return the scores of all optional scorers that `spec` names, by system, and for the result what scored, by metric.

    Raises:
        UnusableScorer: one of them can't be used; says what to do.
    """
    scores: ScoresOf = {system: {} for system in outputs}
    told: dict[str, Any] = {}
    for build in _asked(spec):
        context.progress(system="optional scorers", scorer="loading")
        scorer = build()
        began = time.monotonic()
        for system, values in scorer.score(rows, outputs, _counting(context, scorer.metric)).items():
            scores[system][scorer.metric] = values
        told[scorer.metric] = scorer.describe() | {"seconds": round(time.monotonic() - began, 3)}
        del scorer
    return scores, told


def _asked(spec: Scored) -> Iterator[Callable[[], Scorer]]:
    similarity, supported_by = spec.similarity, spec.supported_by
    # torch: imported when a scorer is built
    if similarity is not None:
        from workers.scorers.local.similarity import Similarity

        yield lambda: Similarity(similarity)
    if supported_by is not None:
        from workers.scorers.local.support import Support

        yield lambda: Support(supported_by)


def judge(
    context: JobContext,
    spec: JudgeSpec,
    stage: Stage,
    rows: Rows,
    outputs: Outputs,
    models: Collection[str],
) -> dict[str, Any]:
    """Let a judge compare each pair of systems of which one at least is a model, and return what it said as JSON.

    Args:
        context: of the job.
        spec: who judges.
        stage: what the outputs are.
        rows: what the systems wrote for.
        outputs: what they wrote.
        models: names of the systems that are models.

    Raises:
        UserError: the judge can't be used.
        EngineError: it answers nothing.
    """
    sari = {system: _sari(rows, texts) for system, texts in outputs.items()}
    pairs = [pair for pair in itertools.combinations(outputs, 2) if not set(pair).isdisjoint(models)]
    tick = _counting(context, "judged")
    began = time.monotonic()
    with judge_of(spec, stage) as judging:
        compared = [
            {"a": first, "b": second}
            | figures(judging.compare(rows, outputs[first], outputs[second], tick), sari[first], sari[second], spec.margin)
            for first, second in pairs
        ]
        spent = judging.spent
    cost = {"prompts": spent.prompts, "tokens_in": spent.tokens_in, "tokens_out": spent.tokens_out}
    return {
        "model": Path(spec.model).name if Path(spec.model).is_absolute() else spec.model,
        "served": spec.base_url is not None,
        "pairs": compared,
        "cost": cost | {"seconds": round(time.monotonic() - began, 3)},
    }


def _sari(rows: Rows, outputs: Sequence[str]) -> Array:
    """Return what the references say of a system, shape (rows,)."""
    scored = zip(rows.tweets, outputs, rows.references, strict=True)
    return np.array([sentence_sari(tweet, output, references) for tweet, output, references in scored])


def _counting(context: JobContext, what: str) -> Callable[[int], None]:
    """Return what shows how many texts were read for a metric, and stops the job where it must."""
    done = 0

    def tick(newly: int) -> None:
        nonlocal done
        done += newly
        context.progress(scorer=what, read=done)
        context.check()

    tick(0)
    return tick
