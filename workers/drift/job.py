"""Runs a drift job: compares the newest tweets with what a model learnt from. The result holds figures and ids, never a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.payloads import DriftSpec
from workers.database import session
from workers.drift import figures, inputs, measures, sample
from workers.drift.figures import Figure
from workers.drift.inputs import Guarded, Inputs
from workers.jobs.context import JobContext, Outcome
from workers.noise.fitting.dictionary import frequencies
from workers.text.language import require

_CHECK_EVERY = 100
_GUARD_WORDS = {"fallbacks": "fallbacks, beside the evaluation", "retried": "written again, beside the evaluation"}


def watch(context: JobContext, spec: DriftSpec) -> Outcome:
    """Compare what came in with what was learnt.

    Raises:
        UserError: there is nothing to compare with.
    """
    require(spec.language)
    with session() as opened:
        found = inputs.read(opened, spec)
    told: dict[str, Any] = {"dataset": found.dataset, "incoming": len(found.incoming), "learnt": len(found.learnt)}
    if len(found.incoming) < figures.FEWEST_INCOMING or len(found.learnt) < figures.FEWEST_LEARNT:
        return Outcome(told | {"verdict": "too few", "says": [_too_few(found)], "figures": [], "sample": [], "over_time": []})
    context.progress(total=len(found.incoming) + len(found.learnt))
    incoming, learnt = _tables(found, spec, _ticking(context))
    named = measures.measures(spec.language)
    compared = figures.judged([*_of_texts(named, incoming, learnt), *_of_guard(found.guarded)])
    drifted = sorted((figure for figure in compared if figure.drifted), key=lambda figure: -abs(figure.effect))
    columns = [place for place, figure in enumerate(compared[: len(named)]) if figure.drifted]
    names = [measure.words for measure in named]
    chosen = sample.choose(found.incoming, incoming, learnt, names, columns, spec.sample, spec.seed)
    return Outcome(
        told
        | {
            "verdict": "drift" if drifted else "no drift seen",
            "says": [figures.says(figure) for figure in drifted],
            "figures": [figure.as_dict() for figure in compared],
            "over_time": found.guarded.over_time if found.guarded is not None else [],
            "sample": [{"tweet": each.tweet, "because": each.because} for each in chosen],
        }
    )


def _tables(found: Inputs, spec: DriftSpec, on_text: Callable[[], None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    texts = [tweet.text for tweet in found.incoming]
    ours, theirs = measures.unknown_shares(texts, found.learnt)
    known = frequencies()
    return (
        measures.table(texts, ours, known, spec.language, on_text),
        measures.table(found.learnt, theirs, known, spec.language, on_text),
    )


def _of_texts(named: Sequence[measures.Measure], incoming: NDArray[np.float64], learnt: NDArray[np.float64]) -> list[Figure]:
    compared = []
    for measure, ours, theirs in zip(named, incoming.T, learnt.T, strict=True):
        if measure.share:
            counts = int(ours.sum()), len(ours), int(theirs.sum()), len(theirs)
            compared.append(figures.of_shares(measure.name, measure.words, *counts))
        else:
            compared.append(figures.of_means(measure.name, measure.words, ours, theirs))
    return compared


def _of_guard(guarded: Guarded | None) -> list[Figure]:
    if guarded is None:
        return []
    return [
        figures.of_shares(name, _GUARD_WORDS[name], guarded.now[name].count, guarded.now[name].n, then.count, then.n)
        for name, then in guarded.then.items()
        if then.n
    ]


def _too_few(found: Inputs) -> str:
    return (
        f"{len(found.incoming)} tweets came in that differ, and {len(found.learnt)} training texts are there:"
        f" {figures.FEWEST_INCOMING} and {figures.FEWEST_LEARNT} are needed"
    )


def _ticking(context: JobContext) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if done % _CHECK_EVERY == 0:
            context.progress(done=done)
            context.check()

    return tick
