"""Says in words what the figures answer, and with which commands to go on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from producers.curve.points import ORIGINS
from producers.render.curve import verdict_words
from workers.curves.extrapolation import FEWEST_SIZES

QUESTION = "How much training data do I need, and is it worth my weeks?"
ENOUGH_TO_TRY = 4
"""Pairs from which a curve of some sizes can be drawn at all."""

MORE_SEEDS = 6
"""Subsets of each size to train at least where fewer leave a curve unsure; twice as many as there are, where that is more."""

_MORE = 3  # sentences beside the verdict: whether training pays, what more pairs bring, what they take
_RECIPE = "recipes/train-cpu.yaml"
_SAME_RECIPE = "Give RECIPE and its KEY=VALUE as when the curve was drawn: its points are used again."
_DATASET = "tweetmill synthesize -r recipes/synthesis-summary.yaml dataset=mine pairs=pairs.jsonl"
_LARGEST_SIZES = 5
_BEST_KNOWN = 400  # pairs: a curve need not begin with more


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
    return {"verdict": series["verdict"], "sentence": first, "more": more, "curve": curve["curve"], "series": name}


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
            _step(
                "Train a first model on the dataset, and score it beside what needs no model.",
                f"tweetmill train -r {_RECIPE} name=mine dataset={_quoted(dataset['name'])}",
                "tweetmill evaluate latest",
            )
        )
    elif models and not found["evaluations"]["shown"] and not found["comparisons"]["shown"]:
        told.append(_step("Score the newest model beside what needs no model.", f"tweetmill evaluate {_quoted(models[0]['name'])}"))
    told += [_watch(each) for each in found["curves"]["shown"] if under_way(each)]
    told += [
        _step(
            f"{each['not_asked']} models of curve {each['curve']} have no score, since nobody waited for it: ask for them.",
            f"tweetmill curve show {_quoted(each['curve'])} --wait",
        )
        for each in found["curves"]["shown"]
        if each["not_asked"]
    ]
    told += [
        _step(
            f"{each['failed']} points of curve {each['curve']} have no score: see why, and try them again.",
            "tweetmill jobs --state failed",
            f"tweetmill curve show {_quoted(each['curve'])}",
        )
        for each in found["curves"]["shown"]
        if each["failed"]
    ]
    if curve is not None:
        told += _after(curve)
    elif not found["curves"]["shown"]:
        told += _first_curve(dataset)
    return told


def _without_dataset(tweets: int) -> list[dict[str, Any]]:
    commands = [_DATASET] if tweets else ["tweetmill ingest tweets.jsonl", _DATASET]
    reason = "A pair is a tweet and the summary that you would have written, one a line of a file: make a dataset of such a file."
    return [_step(reason, *commands), _step("Or see the whole way once on real tweets, which are fetched for it.", "tweetmill demo")]


def _watch(curve: Mapping[str, Any]) -> dict[str, Any]:
    reason = (
        f"Curve {curve['curve']} is under way: workers train and score {curve['points'] - curve['done'] - curve['failed']} more points."
    )
    return _step(reason, f"tweetmill curve show {_quoted(curve['curve'])}")


def _first_curve(dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = dataset.get("pairs") or 0
    if pairs < ENOUGH_TO_TRY:
        reason = f"Dataset {dataset['name']} has {pairs:,} pairs that a person wrote: write some more before a curve can tell anything."
        return [_step(reason, _DATASET)]
    command = f"tweetmill curve run -r {_RECIPE} name=mine dataset={_quoted(dataset['name'])} --sizes {_sizes(pairs)}"
    reason = (
        f"Draw a curve: it trains on nested subsets of the {pairs:,} pairs, and says what twice as many would bring. First what it takes:"
    )
    return [_step(reason, f"{command} --dry-run", command)]


def _sizes(pairs: int) -> str:
    """Return sizes for a first curve, each twice the one before, up to all pairs or to 400."""
    sizes = [max(1, min(pairs, _BEST_KNOWN) >> halved) for halved in range(_LARGEST_SIZES)]
    return ",".join(map(str, sorted(set(sizes))))


def _after(curve: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a curve's verdict asks for. Points are used again while the dataset is the same; new pairs need a new curve."""
    series = curve["series"][main_series(curve)]
    if series["verdict"] == "stop":
        return _use(curve)
    sizes = [int(point["size"]) for point in series["points"]]
    seeds = _seeds(curve)
    more_seeds = _again(curve, sizes, max(MORE_SEEDS, 2 * seeds))
    wanted = sizes[-1] if series["verdict"] == "continue" else series["label"]
    if not wanted:
        return [_step(f"More pairs alone would hardly tell: train more subsets of each size. {_SAME_RECIPE}", more_seeds)]
    told = [_larger(curve, [*sizes, sizes[-1] + int(wanted)], seeds)]
    if series["verdict"] == "unsure":
        told.append(_step(f"Or train more subsets of each size, which needs no new pair. {_SAME_RECIPE}", more_seeds))
    return told


def _larger(curve: Mapping[str, Any], sizes: Sequence[int], seeds: int) -> dict[str, Any]:
    """Return how to add the last of `sizes` to a curve: by the pairs that its dataset has, or by more."""
    there, wanted = curve["pairs"], sizes[-1]
    if there >= wanted:
        return _step(f"The dataset has {there:,} pairs: add a size of {wanted:,}. {_SAME_RECIPE}", _again(curve, sizes, seeds))
    reason = f"Write about {wanted - there:,} more pairs, make a dataset of all of them, and draw its curve with the same recipe."
    more = {**curve, "curve": "more", "dataset": "more"}
    return _step(reason, _DATASET.replace("mine", "more"), _again(more, sizes, seeds))


def _again(curve: Mapping[str, Any], sizes: Sequence[int], seeds: int) -> str:
    """Return the call that draws a curve with other sizes or seeds and leaves its other points as they are."""
    name, dataset = (_quoted(curve[what]) for what in ("curve", "dataset"))
    steps = f" max_steps={curve['max_steps']}" if curve["max_steps"] > 0 else ""  # else a larger size would change those of all points
    asked = f"{_asked(curve)} --seeds {seeds} --sizes {','.join(map(str, sizes))}"
    return f"tweetmill curve run -r RECIPE name={name} dataset={dataset}{steps}{asked}"


def _use(curve: Mapping[str, Any]) -> list[dict[str, Any]]:
    best = best_model(curve)
    look = _step("Stop writing pairs; look through those that there are for mistakes.", f"tweetmill review {_quoted(curve['dataset'])}")
    if best is None:
        return [look]
    return [_step("Use the model that scored best.", f"tweetmill summarize tweets.jsonl --model {_quoted(best)} --wait"), look]


def _asked(curve: Mapping[str, Any]) -> str:
    """Return the options with which a curve was asked for, but sizes and seeds, so that the same call adds to it."""
    origins = {name for name, of_name in ORIGINS.items() for each in curve["trained"] if list(each["origins"]) == list(of_name)}
    methods = sorted({each["method"] for each in curve["trained"]})
    told = f" --origins {','.join(each for each in ORIGINS if each in origins)}" if origins not in ({"human"}, set()) else ""
    told += f" --methods {','.join(methods)}"  # the recipe may name another one
    told += " --budget steps" if curve["max_steps"] > 0 else ""
    limit = curve["scored"].get("limit")  # of the rows: scores on others are no scores of this curve
    return told + (f" --limit {limit}" if limit else "")


def _seeds(curve: Mapping[str, Any]) -> int:
    """Return how many subsets of each size a curve was asked for with."""
    return 1 + max(int(each["seed"]) for each in curve["trained"])


def best_model(curve: Mapping[str, Any]) -> str | None:
    """Return the name of the curve's model with the highest score."""
    metric = curve["metric"]
    scored = [each for each in curve["trained"] if each["scores"] and each["model"]]
    return max(scored, key=lambda each: each["scores"][metric]["value"])["model"] if scored else None


def _step(why: str, *commands: str) -> dict[str, Any]:
    return {"why": why, "commands": list(commands)}


def _quoted(name: str) -> str:
    return shlex.quote(name)
