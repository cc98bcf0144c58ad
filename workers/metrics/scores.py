"""Scores outputs row by row, and averages the rows with intervals. The headline is SARI; ROUGE and chrF flatter copying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.chrf import CHRF

from workers.metrics.bootstrap import Figure, interval
from workers.metrics.copying import compression, copying
from workers.metrics.meteor import sentence_meteor
from workers.metrics.sari import sentence_sari
from workers.text.constraints import faithful, meets_constraints

METRICS = ("sari", "rouge1", "rouge2", "rougeL", "chrf", "meteor", "promise", "faithful", "compression", "coverage", "density")
"""In the order of a table. `schemas.metrics` says what each is, its unit, and whether more of it is better."""

References = tuple[str, ...]
"""What people wrote for one tweet: one text or several."""

_ROUGE = ("rouge1", "rouge2", "rougeL")

Scores = Mapping[str, NDArray[np.float64]]
"""Metric to one score a row, shape (rows,)."""


def score(tweets: Sequence[str], outputs: Sequence[str], references: Sequence[References]) -> Scores:
    """Score every output against its tweet, as it was sent, and all references of that tweet. Holds 88 bytes a row beside the texts.

    ROUGE is the F1 of Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004, and knows the letters a to z and digits alone;
    chrF is that of Popović, chrF: character n-gram F-score for automatic MT evaluation, 2015. Of several references SARI weighs what each
    keeps, deletes and adds; ROUGE, METEOR and chrF are those of the reference that is nearest to the output, by the metric itself.

    Raises:
        ValueError: the three differ in length, or a row has no reference.
    """
    if not len(tweets) == len(outputs) == len(references):
        raise ValueError(f"{len(tweets)} tweets, {len(outputs)} outputs, {len(references)} references: every row needs all three")
    scores = np.empty((len(METRICS), len(tweets)))
    for place, row in enumerate(zip(tweets, outputs, references, strict=True)):
        scores[:, place] = _score_row(*row)
    return dict(zip(METRICS, scores, strict=True))


def table(
    tweets: Sequence[str],
    outputs: Sequence[str],
    references: Sequence[References],
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Figure]:
    """Return the mean of each metric with its 95% interval.

    Raises:
        ValueError: there are no rows, or as in `score`.
    """
    return summarize(score(tweets, outputs, references), resamples, seed)


def summarize(scores: Scores, resamples: int = 2000, seed: int = 0) -> dict[str, Figure]:
    """Return the table of rows that were scored before. The same seed draws the same rows for every system."""
    return {metric: interval(values, resamples, seed) for metric, values in scores.items()}


def _score_row(tweet: str, output: str, references: References) -> tuple[float, ...]:
    sari = sentence_sari(tweet, output, references)
    rouge = _rouge().score_multi(references, output)
    copied = copying(tweet, output)
    return (
        sari,
        *(100 * float(rouge[kind].fmeasure) for kind in _ROUGE),
        float(_chrf().sentence_score(output, references).score),
        sentence_meteor(output, references),
        float(meets_constraints(tweet, output)),
        float(faithful(tweet, output)),
        compression(tweet, output),
        copied.coverage,
        copied.density,
    )


@lru_cache(maxsize=1)
def _rouge() -> RougeScorer:
    return RougeScorer(list(_ROUGE))


@lru_cache(maxsize=1)
def _chrf() -> CHRF:
    return CHRF()
