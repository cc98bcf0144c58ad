"""Runs a classifier two-sample test of noised texts against tweets: the cross-validated AUC, its interval, the most telling features.

The classifier sees features of style alone; 0.5 says that it can't separate the two samples, 1 that it always can. Each curated pair gives
one real tweet and one text made from its clean version, so that both samples say the same. Folds keep near-duplicates together, and with
them the two texts of a pair. Source: Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017.
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
MOST_TELLING = 8
LEAST_DROP = 0.003  # of the AUC, for a feature to be reported

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Sides:
    """The features of the synthetic texts and of the real tweets, shape (n, features) each, row by row of the same pair."""

    synthetic: Table
    real: Table
    groups: NDArray[np.int64]  # shape (n,): the pair's cluster

    @property
    def rows(self) -> Table:
        """Both samples, shape (2n, features), the synthetic one first."""
        return np.vstack([self.synthetic, self.real])

    @property
    def truth(self) -> NDArray[np.int64]:
        """The labels, shape (2n,): 1 for a real tweet."""
        return np.repeat(np.array([0, 1]), len(self.real))


def compare(sides: Sides, resamples: int, seed: int, on_fold: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Return the cross-validated AUC with its 95% interval under `auc`, and the most telling features under `telltales`.

    Args:
        sides: what to compare.
        resamples: draws of whole clusters for the interval.
        seed: of folds, shuffles and draws.
        on_fold: called with the number of each fold that is done.

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
    figures = {"value": round(auc(scores, truth), 4), "low": round(low, 4), "high": round(high, 4), "n": len(sides.real)}
    return {"auc": figures, "telltales": _most_telling(sides, drops)}


def auc(scores: Table, truth: NDArray[np.int64], weights: Table | None = None) -> float:
    """Return the area under the ROC curve: the chance that a real text scores higher than a synthetic one, a tie counting half.

    As scikit-learn's `roc_auc_score`, in a hundredth of its time: the interval asks for it thousands of times (docs/adr/0006-libraries.md).

    Args:
        scores: shape (n,).
        truth: shape (n,), 1 for a real text.
        weights: shape (n,), how often each row counts; default: once.
    """
    weights = np.ones(len(truth)) if weights is None else weights
    values, places = np.unique(scores, return_inverse=True)
    real = np.bincount(places, weights * truth, len(values))
    synthetic = np.bincount(places, weights * (1 - truth), len(values))
    below = np.cumsum(synthetic) - synthetic / 2
    return float((real * below).sum() / (real.sum() * synthetic.sum()))


def _classifier(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Early stopping would take rows away; 150 small trees are as good as any number tried on a few thousand rows.
    return HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False, random_state=seed
    )


def _folds(rows: Table, truth: NDArray[np.int64], groups: NDArray[np.int64], seed: int) -> Sequence[tuple[Any, Any]]:
    try:
        from sklearn.model_selection import GroupKFold
    except ImportError:
        raise UserError("this worker has no scikit-learn, which `noise gauge` needs: pip install 'tweetmill[gpu]'") from None
    return list(GroupKFold(FOLDS, shuffle=True, random_state=seed).split(rows, truth, groups))


def _one_thread() -> Any:
    """Limit the thread pools to one thread: small trees gain nothing from more, which crawl where the cores are busy with other work."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    return threadpool_limits(limits=1)


def _realness(model: Any, rows: Table) -> Table:
    scores: Table = model.predict_proba(rows)[:, 1]
    return scores


def _drops(model: Any, rows: Table, truth: NDArray[np.int64], seed: int) -> Table:
    """Return by how much the AUC falls on held-out rows when one feature is permuted among them, shape (features,).

    Source: Breiman, "Random Forests", Machine Learning 45, 2001.
    """
    from sklearn.inspection import permutation_importance

    def score(fitted: Any, features: Table, labels: NDArray[np.int64]) -> float:
        return auc(_realness(fitted, features), labels)

    drops: Table = permutation_importance(model, rows, truth, scoring=score, n_repeats=1, random_state=seed).importances_mean
    return drops


def _interval(scores: Table, truth: NDArray[np.int64], groups: NDArray[np.int64], resamples: int, seed: int) -> tuple[float, float]:
    """Return the 95% percentile interval of the AUC over bootstrap draws of whole clusters: the two texts of a pair are not independent."""
    generator = np.random.default_rng(seed)
    _, numbers = np.unique(groups, return_inverse=True)
    clusters = int(numbers.max()) + 1
    drawn = (np.bincount(generator.integers(clusters, size=clusters), minlength=clusters) for _ in range(resamples))
    low, high = np.percentile([auc(scores, truth, times[numbers].astype(float)) for times in drawn], [2.5, 97.5])
    return float(low), float(high)


def _most_telling(sides: Sides, drops: Table) -> list[dict[str, Any]]:
    """Return the features that the classifier relied on most, each with a sentence."""
    names = list(MEASURES)
    order = [int(column) for column in np.argsort(-drops, kind="stable")[:MOST_TELLING] if drops[column] >= LEAST_DROP]
    described = []
    for column in order:
        real, synthetic = float(sides.real[:, column].mean()), float(sides.synthetic[:, column].mean())
        what = MEASURES[names[column]].words
        figures = {"real": _figure(real), "synthetic": _figure(synthetic), "drop": round(float(drops[column]), 4)}
        described.append({"measure": names[column], **figures, "says": _sentence(what, real, synthetic)})
    return described


def _sentence(what: str, real: float, synthetic: float) -> str:
    if _figure(real) == _figure(synthetic):
        return f"as many {what} ({_figure(real):g} a text), but spread in another way"
    return f"real has {'more' if real > synthetic else 'fewer'} {what}: {_figure(real):g} against {_figure(synthetic):g}"


def _figure(value: float) -> float:
    return round(value, 3) if abs(value) < 10 else round(value, 1)


def present(sides: Table) -> list[float]:
    """Return for each feature the share of texts that have any of it."""
    return [round(float(share), 4) for share in (sides > 0).mean(axis=0)]
