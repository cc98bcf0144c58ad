"""Scores outputs row by row, and averages the rows with intervals. The headline is SARI; ROUGE and chrF flatter copying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.chrf import CHRF

from workers.metrics.bootstrap import Figure, interval
from workers.metrics.sari import sentence_sari
from workers.text.constraints import faithful, meets_constraints

METRICS = ("sari", "rougeL", "chrf", "promise", "faithful")
"""In the order of a table. The first three run from 0 to 100, the last two are shares of rows from 0 to 1."""

References = tuple[str, ...]
"""What people wrote for one tweet: one text or several."""

Scores = Mapping[str, NDArray[np.float64]]
"""Metric to one score a row, shape (rows,)."""


def score(tweets: Sequence[str], outputs: Sequence[str], references: Sequence[References]) -> Scores:
    """Score every output against its tweet, as it was sent, and all references of that tweet.

    ROUGE-L is the F1 of Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004; chrF that of Popović, chrF: character
    n-gram F-score for automatic MT evaluation, 2015. Of several references SARI weighs what each keeps, deletes and adds; ROUGE and
    chrF are those of the reference that is nearest to the output.

    Raises:
        ValueError: the three differ in length, or a row has no reference.
    """
    if not len(tweets) == len(outputs) == len(references):
        raise ValueError(f"{len(tweets)} tweets, {len(outputs)} outputs, {len(references)} references: every row needs all three")
    rows = [_score_row(tweet, output, of_tweet) for tweet, output, of_tweet in zip(tweets, outputs, references, strict=True)]
    return {metric: np.array([row[column] for row in rows], dtype=np.float64) for column, metric in enumerate(METRICS)}


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
    return (
        sentence_sari(tweet, output, references),
        100 * float(_rouge().score_multi(references, output)["rougeL"].fmeasure),
        float(_chrf().sentence_score(output, references).score),
        float(meets_constraints(tweet, output)),
        float(faithful(tweet, output)),
    )


@lru_cache(maxsize=1)
def _rouge() -> RougeScorer:
    return RougeScorer(["rougeL"])


@lru_cache(maxsize=1)
def _chrf() -> CHRF:
    return CHRF()
