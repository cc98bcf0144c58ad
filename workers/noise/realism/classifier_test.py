"""How far noise is from real: the AUC of a classifier that is asked to tell them apart by style. 0.5 is as good as real, 1 is plain to see.

Each curated pair gives one real tweet and one text made from its clean version, so that both sides say the same and only the style
is left to tell. Folds keep near-duplicates together, and with them the two texts of a pair. (Lopez-Paz and Oquab, "Revisiting
Classifier Two-Sample Tests", ICLR 2017.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.errors import UserError
from workers.noise.realism.features import MEASURES

FOLDS = 5
TELLTALES = 8
LEAST_DROP = 0.003  # of the AUC, for a measure to be named

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Sides:
    """The measures of the synthetic texts and of the real tweets, shape (n, measures) each, row by row of the same pair."""

    synthetic: Table
    real: Table
    groups: NDArray[np.int64]  # shape (n,): the pair's cluster

    @property
    def rows(self) -> Table:
        """Both sides, the synthetic one first."""
        return np.vstack([self.synthetic, self.real])

    @property
    def truth(self) -> NDArray[np.int64]:
        """1 for a real tweet."""
        return np.repeat(np.array([0, 1]), len(self.real))


def compare(sides: Sides, resamples: int, seed: int, on_fold: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """The cross-validated AUC with its interval, and the measures that give the noise away.

    Args:
        sides: what to compare.
        resamples: draws of whole clusters for the interval.
        seed: of folds, shuffles and draws.
        on_fold: hears each fold that is done.

    Raises:
        UserError: scikit-learn is not installed on this worker.
    """
    rows, truth, groups = sides.rows, sides.truth, np.tile(sides.groups, 2)
    scores = np.zeros(len(truth))
    drops = np.zeros(rows.shape[1])
    folds = _folds(rows, truth, groups, seed)
    with _one_thread():
        for number, (learnt, tested) in enumerate(folds):
            model = _classifier(seed).fit(rows[learnt], truth[learnt])
            scores[tested] = _realness(model, rows[tested])
            drops += _drops(model, rows[tested], truth[tested], seed + number) / FOLDS
            on_fold(number)
    low, high = _interval(scores, truth, groups, resamples, seed)
    auc = {"value": round(area(scores, truth), 4), "low": round(low, 4), "high": round(high, 4), "n": len(sides.real)}
    return {"auc": auc, "telltales": _telltales(sides, drops)}


def area(scores: Table, truth: NDArray[np.int64], times: Table | None = None) -> float:
    """The chance that a real text scores higher than a synthetic one; half of it for a tie. Rows may count several times, or not at all."""
    weights = np.ones(len(truth)) if times is None else times
    values, places = np.unique(scores, return_inverse=True)
    real = np.bincount(places, weights * truth, len(values))
    synthetic = np.bincount(places, weights * (1 - truth), len(values))
    below = np.cumsum(synthetic) - synthetic / 2
    return float((real * below).sum() / (real.sum() * synthetic.sum()))


def _classifier(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Early stopping would take rows away; so many small trees are as good as any tried on a few thousand rows.
    return HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False, random_state=seed
    )


def _folds(rows: Table, truth: NDArray[np.int64], groups: NDArray[np.int64], seed: int) -> Sequence[tuple[Any, Any]]:
    try:
        from sklearn.model_selection import GroupKFold
    except ImportError:
        raise UserError("this worker has no scikit-learn, which the gauge needs: pip install 'tweetmill[gpu]'") from None
    return list(GroupKFold(FOLDS, shuffle=True, random_state=seed).split(rows, truth, groups))


def _one_thread() -> Any:
    """Small trees gain nothing from threads, and threads that wait for each other crawl where the cores are busy with other work."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    return threadpool_limits(limits=1)


def _realness(model: Any, rows: Table) -> Table:
    scores: Table = model.predict_proba(rows)[:, 1]
    return scores


def _drops(model: Any, rows: Table, truth: NDArray[np.int64], seed: int) -> Table:
    """By how much the AUC falls on held-out rows when one measure is shuffled among them (Breiman, "Random Forests", 2001)."""
    generator = np.random.default_rng(seed)
    whole = area(_realness(model, rows), truth)
    varied = np.flatnonzero(np.ptp(rows, axis=0))
    shuffled = np.tile(rows, (len(varied), 1, 1))
    for place, column in enumerate(varied):
        shuffled[place, :, column] = generator.permutation(rows[:, column])
    scores = _realness(model, shuffled.reshape(-1, rows.shape[1])).reshape(len(varied), -1)
    drops = np.zeros(rows.shape[1])
    drops[varied] = [whole - area(each, truth) for each in scores]
    return drops


def _interval(scores: Table, truth: NDArray[np.int64], groups: NDArray[np.int64], resamples: int, seed: int) -> tuple[float, float]:
    """The 95% interval over draws of whole clusters with replacement: the two texts of a pair are not independent."""
    generator = np.random.default_rng(seed)
    _, numbers = np.unique(groups, return_inverse=True)
    clusters = int(numbers.max()) + 1
    drawn = (np.bincount(generator.integers(clusters, size=clusters), minlength=clusters) for _ in range(resamples))
    low, high = np.percentile([area(scores, truth, times[numbers].astype(float)) for times in drawn], [2.5, 97.5])
    return float(low), float(high)


def _telltales(sides: Sides, drops: Table) -> list[dict[str, Any]]:
    """The measures that the classifier leant on most, in plain words."""
    names = list(MEASURES)
    order = [int(column) for column in np.argsort(-drops, kind="stable")[:TELLTALES] if drops[column] >= LEAST_DROP]
    told = []
    for column in order:
        real, synthetic = float(sides.real[:, column].mean()), float(sides.synthetic[:, column].mean())
        what = MEASURES[names[column]].words
        figures = {"real": _figure(real), "synthetic": _figure(synthetic), "drop": round(float(drops[column]), 4)}
        told.append({"measure": names[column], **figures, "says": _said(what, real, synthetic)})
    return told


def _said(what: str, real: float, synthetic: float) -> str:
    if _figure(real) == _figure(synthetic):
        return f"as many {what} ({_figure(real):g} a text), but spread in another way"
    return f"real has {'more' if real > synthetic else 'fewer'} {what}: {_figure(real):g} against {_figure(synthetic):g}"


def _figure(value: float) -> float:
    return round(value, 3) if abs(value) < 10 else round(value, 1)


def present(sides: Table) -> list[float]:
    """For each measure the share of texts that have any of it."""
    return [round(float(share), 4) for share in (sides > 0).mean(axis=0)]
