"""Says in words what the figures answer, and with which commands to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from producers.render.curve import better_without, verdict_words
from producers.report import after_curve
from producers.report.after_curve import BEST_KNOWN, DATASET, quoted, step
from workers.curves.extrapolation import FEWEST_SIZES

QUESTION = "How much training data do I need, and is it worth my weeks?"
ENOUGH_TO_TRY = 4
"""Pairs from which a curve of some sizes can be drawn at all."""

_MORE = 3  # sentences beside the verdict: whether training pays, what more pairs bring, what they take
_RECIPE = "recipes/train-cpu.yaml"
_LARGEST_SIZES = 5


def answer(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer that the figures give: `verdict` (continue, stop, unsure, measured or nothing), `sentence`, `more` sentences.

    It is the verdict of a curve that has a score, as `answering` chooses it; without one, what the newest evaluation shows, and under
    `step` what leads to a curve.
    """
    curve = answering(found["curves"]["shown"])
    if curve is not None:
        return _of_curve(curve, found["curves"]["shown"])
    if found["evaluations"]["shown"]:
        return _of_evaluation(found["evaluations"]["shown"][0]) | {"step": _first_step(found)}
    if found["comparisons"]["shown"]:
        return _of_comparison(found["comparisons"]["shown"][0]) | {"step": _first_step(found)}
    return {"verdict": "nothing", "sentence": "Nothing is measured yet.", "more": [], "curve": None, "step": _first_step(found)}


def answering(curves: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the curve whose verdict is the answer: of those with enough sizes for a fit, if there is one, the newest that has ended."""
    scored = [curve for curve in curves if curve["series"]]
    return max(scored, key=lambda curve: (_fits(curve), not under_way(curve)), default=None)  # of equals the first, which is the newest


def _fits(curve: Mapping[str, Any]) -> bool:
    return len(curve["series"][main_series(curve)]["points"]) >= FEWEST_SIZES


def under_way(curve: Mapping[str, Any]) -> bool:
    """Whether points of a curve are still to be trained or scored."""
    return bool(curve["done"] + curve["failed"] < curve["points"])


def main_series(curve: Mapping[str, Any]) -> str:
    """Return the series of a curve that is measured furthest, of equals the one that scored best at its largest size."""
    series: Mapping[str, Any] = curve["series"]
    return max(series, key=lambda name: (len(series[name]["points"]), series[name]["points"][-1]["value"]))


def foretold(series: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what is foretold of a series; nothing where it has too few sizes for a fit, or no interval."""
    if len(series["points"]) < FEWEST_SIZES:
        return []
    return [each for each in series["predictions"] if each["high"] > each["low"]]


def words(series: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return a series' verdict in a sentence, and the other sentences: whether training pays, what more pairs bring and cost."""
    sentences = list(verdict_words(series))
    # The comparison with what needs no training, where there is one, stands before the verdict.
    return sentences.pop(1 if series.get("against") else 0), sentences


def _of_curve(curve: Mapping[str, Any], curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    name = main_series(curve)
    series = curve["series"][name]
    first, others = words(series)
    more = others[:_MORE]
    if len(curve["series"]) > 1:
        more.append(f"This is {name}, which is measured furthest and scored best of {len(curve['series'])} series; all stand below.")
    if under_way(curve):
        more.append(f"The curve {curve['curve']} is under way: {curve['done']} of {curve['points']} points have a score.")
    for other in curves:
        if other is not curve and under_way(other):
            more.append(f"Another one, {other['curve']}, is under way: {other['done']} of {other['points']} points have a score.")
    better = better_without(series)
    told = {"verdict": series["verdict"], "sentence": first, "more": more, "curve": curve["curve"], "series": name}
    return told | {"better": better["baseline"] if better is not None else None}


def _of_evaluation(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    sentence = evaluation["verdict"] or f"The scores of model {evaluation['model']} stand below, beside its baselines."
    more = [f"That is model {evaluation['model']}. Only a curve says what more pairs would bring; none is drawn yet."]
    return {"verdict": "measured", "sentence": sentence, "more": more, "curve": None}


def _of_comparison(comparison: Mapping[str, Any]) -> dict[str, Any]:
    first, *others = comparison["verdict"] or ["The scores stand below."]
    more = [*others, "Only a curve says what more pairs would bring; none is drawn yet."]
    return {"verdict": "measured", "sentence": first, "more": more, "curve": None}


def _first_step(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the step that draws a curve, or what comes before it."""
    told = steps(found)
    return next((step for step in told if any(" curve run " in command for command in step["commands"])), told[0] if told else None)


def steps(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what to do next, the most useful first: each with its reason, `why`, and `commands` that work when pasted."""
    project = found["project"]
    if not project["datasets"]["shown"]:
        return _without_dataset(project["tweets"])
    told: list[dict[str, Any]] = []
    curve = answering(found["curves"]["shown"])
    dataset = project["datasets"]["shown"][0]
    models = project["models"]["shown"]
    if not models and not found["curves"]["shown"]:
        told.append(
            step(
                "Train a first model on the dataset, and score it beside what needs no model.",
                f"tweetmill train -r {_RECIPE} name=mine dataset={quoted(dataset['name'])}",
                "tweetmill evaluate latest",
            )
        )
    elif models and not found["evaluations"]["shown"] and not found["comparisons"]["shown"]:
        told.append(step("Score the newest model beside what needs no model.", f"tweetmill evaluate {quoted(models[0]['name'])}"))
    told += [_watch(each) for each in found["curves"]["shown"] if under_way(each)]
    told += [
        step(
            f"{each['not_asked']} models of curve {each['curve']} have no score, since nobody waited for it: ask for them.",
            f"tweetmill curve show {quoted(each['curve'])} --wait",
        )
        for each in found["curves"]["shown"]
        if each["not_asked"]
    ]
    told += [
        step(
            f"{each['failed']} points of curve {each['curve']} have no score: see why, and try them again.",
            "tweetmill jobs --state failed",
            f"tweetmill curve show {quoted(each['curve'])}",
        )
        for each in found["curves"]["shown"]
        if each["failed"]
    ]
    if curve is not None:
        told += after_curve.steps(curve, main_series(curve))
    elif not found["curves"]["shown"]:
        told += _first_curve(dataset)
    return told


def _without_dataset(tweets: int) -> list[dict[str, Any]]:
    commands = [DATASET] if tweets else ["tweetmill ingest tweets.jsonl", DATASET]
    reason = "A pair is a tweet and the summary that you would have written, one a line of a file: make a dataset of such a file."
    return [step(reason, *commands), step("Or see the whole way once on real tweets, which are fetched for it.", "tweetmill demo")]


def _watch(curve: Mapping[str, Any]) -> dict[str, Any]:
    reason = (
        f"Curve {curve['curve']} is under way: workers train and score {curve['points'] - curve['done'] - curve['failed']} more points."
    )
    return step(reason, f"tweetmill curve show {quoted(curve['curve'])}")


def _first_curve(dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = dataset.get("pairs") or 0
    if pairs < ENOUGH_TO_TRY:
        reason = f"Dataset {dataset['name']} has {pairs:,} pairs that a person wrote: write some more before a curve can tell anything."
        return [step(reason, DATASET)]
    command = f"tweetmill curve run -r {_RECIPE} name=mine dataset={quoted(dataset['name'])} --sizes {_sizes(pairs)}"
    reason = (
        f"Draw a curve: it trains on nested subsets of the {pairs:,} pairs, and says what twice as many would bring. First what it takes:"
    )
    return [step(reason, f"{command} --dry-run", command)]


def _sizes(pairs: int) -> str:
    """Return sizes for a first curve, each twice the one before, up to all pairs or to 400."""
    sizes = [max(1, min(pairs, BEST_KNOWN) >> halved) for halved in range(_LARGEST_SIZES)]
    return ",".join(map(str, sorted(set(sizes))))
