"""Runs the noise jobs: fit a profile, and measure how real each noise looks by a classifier two-sample test."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from schemas.payloads import NoiseFitSpec, NoiseGaugeSpec
from workers.database import transaction
from workers.errors import UserError
from workers.jobs.context import JobContext, Outcome
from workers.noise.fitting import corpus, profile
from workers.noise.fitting.dictionary import frequencies
from workers.noise.fitting.rates import measure
from workers.noise.methods import Fixed
from workers.noise.operations.fitted_style import Fitted
from workers.noise.realism.features import MEASURES, feature_values
from workers.noise.realism.two_sample import Sides, compare, present
from workers.text.near_duplicates import clusters

FEWEST_PAIRS = 50

# Raw: one clean text a tweet, sampled by hash.
_PAIRS = """
SELECT id, text, clean FROM (
  SELECT DISTINCT ON (tweet.id) tweet.id, tweet.text, curated.clean
  FROM curated JOIN tweet ON tweet.id = curated.key
  WHERE curated.text IS NULL AND curated.clean IS NOT NULL AND curated.summary IS NOT NULL
    AND (cast(:pairs AS text) IS NULL OR curated.collection = :pairs)
  ORDER BY tweet.id, curated.collection, curated.position
) AS pair ORDER BY md5(:seed || id) LIMIT :limit
"""


def fit(attempt: JobContext, spec: NoiseFitSpec) -> Outcome:
    """Fit the profile of `spec`; it is the job's result."""
    with transaction() as connection:
        tweets = corpus.tweets(connection, source=spec.source, apart=None, seed=spec.seed)
    attempt.progress(tweets=len(tweets))
    learnt = profile.fit(tweets, frequencies(), spec.seed)
    attempt.check()
    return Outcome(result={"fingerprint": learnt.fingerprint, "profile": learnt.model_dump(mode="json")})


def measure_realism(attempt: JobContext, spec: NoiseGaugeSpec) -> Outcome:
    """Compare the tweets of pairs with their clean texts, without noise and with either."""
    with transaction() as connection:
        pairs = _pairs(connection, spec)
        others = corpus.tweets(connection, source=spec.source, apart=[pair[0] for pair in pairs], seed=spec.seed)
    if len(pairs) < FEWEST_PAIRS:
        raise UserError(f"{len(pairs)} pairs have their tweets ingested, too few to compare: {FEWEST_PAIRS} at least. See docs/noise.md")
    if len(others) < profile.FEWEST_TWEETS:
        problem = f"only {len(others)} tweets are not among the compared ones, and the noise must be fitted to others"
        raise UserError(f"{problem}: ingest more tweets, or compare fewer with --limit")
    attempt.progress(phase="fitting", tweets=len(others))
    fixed, fitted = Fixed(measure(others)), Fitted(profile.fit(others, frequencies(), spec.seed))
    noises: dict[str, Callable[[str, random.Random], str]] = {
        "none": lambda clean, _: clean,
        "fixed": lambda clean, rng: fixed.apply(clean, rng).text,
        "fitted": lambda clean, rng: fitted.apply(clean, rng).text,
    }
    result = realism_report(pairs, noises, spec, lambda name: _tell(attempt, name))
    about = {"pairs": len(pairs), "fitted_to": len(others), "fixed": fixed.fingerprint, "fitted": fitted.fingerprint}
    return Outcome(result=result | {"about": about})


def realism_report(
    pairs: Sequence[tuple[str, str, str]],
    noises: dict[str, Callable[[str, random.Random], str]],
    spec: NoiseGaugeSpec,
    on_noise: Callable[[str], None],
) -> dict[str, Any]:
    """Return for each noise its AUC and most telling features, and under `measures` the share of texts that have any of each measure.

    Args:
        pairs: tweet id, tweet, clean text.
        noises: by name; each gets a clean text and a generator of its own.
        spec: seed and resamples.
        on_noise: called with the noise that is compared next, and again after each fold.
    """
    words = frequencies()
    real = np.array([feature_values(tweet, words) for _, tweet, _ in pairs])
    groups = np.array(_groups(pairs))
    shares = {"real": present(real)}
    result: dict[str, Any] = {}
    for name, noise in noises.items():
        on_noise(name)
        made = [noise(clean, random.Random(f"gauge {spec.seed} {key}")) for key, _, clean in pairs]
        synthetic = np.array([feature_values(each, words) for each in made])
        shares[name] = present(synthetic)
        result[name] = compare(Sides(synthetic, real, groups), spec.resamples, spec.seed, lambda _, name=name: on_noise(name))  # type: ignore[misc]
    named = enumerate(MEASURES.items())
    result["measures"] = {
        measure: {"words": each.words, **{side: values[column] for side, values in shares.items()}} for column, (measure, each) in named
    }
    return result


def _groups(pairs: Sequence[tuple[str, str, str]]) -> list[int]:
    """Group near-duplicate tweets and clean texts."""
    texts = [each for _, tweet, clean in pairs for each in (tweet, clean)]
    return clusters(texts, linked=[(2 * number, 2 * number + 1) for number in range(len(pairs))])[::2]


def _tell(attempt: JobContext, noise: str) -> None:
    attempt.progress(phase=f"comparing {noise}")
    attempt.check()


def _pairs(connection: Connection, spec: NoiseGaugeSpec) -> list[tuple[str, str, str]]:
    rows = connection.execute(text(_PAIRS), {"pairs": spec.pairs, "seed": str(spec.seed), "limit": spec.limit})
    return [(row.id, row.text, row.clean) for row in rows]
