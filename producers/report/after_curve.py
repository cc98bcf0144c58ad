"""Says what to do after a curve: use a model or what needs no training, write pairs, or train more subsets of those that there are."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from producers.curve.points import ORIGINS
from producers.curve.report import series_of
from producers.render.curve import better_without, outlook
from workers.curves.extrapolation import FEWEST_SIZES
from workers.curves.verdict import missing_sizes

MORE_SEEDS = 6
"""Subsets of each size to train at least where fewer leave a curve unsure; twice as many as there are, where that is more."""

BEST_KNOWN = 400
"""Pairs; a curve need not begin with more."""

DATASET = "tweetmill synthesize -r recipes/synthesis-summary.yaml dataset=mine pairs=pairs.jsonl"
"""Makes a dataset of pairs."""

_SAME_RECIPE = "Give RECIPE and its KEY=VALUE as when the curve was drawn: its points are used again."


_WITHOUT = {"lead": "the first 15 words of a tweet", "rules": "a tweet cleaned by rules", "as_is": "a tweet as it is"}


def steps(curve: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return what a curve's verdict on the series `name` asks for; first what needs no training, where the models are proven worse.

    Points are used again while the dataset is the same; new pairs need a new curve.
    """
    series = curve["series"][name]
    better = better_without(series)
    if series["verdict"] == "stop":
        return [*(_best(curve) if better is None else [_without_training(curve, better)]), _look("Stop writing pairs; look", curve)]
    if better is None:
        return _more(curve, series, "")
    system = better["baseline"]
    if outlook(series, better).answer == "below":
        told = [_look(f"Write no more pairs to reach {system}, which they are not foretold to do; look", curve)]
    else:
        told = _more(curve, series, f"Only to find out whether more pairs pass {system}: ")
    return [_without_training(curve, better), *told]


def _more(curve: Mapping[str, Any], series: Mapping[str, Any], only: str) -> list[dict[str, Any]]:
    """Return how to add to a series that goes on, or of which that is not known; the advice to add pairs begins with `only`."""
    sizes = [int(point["size"]) for point in series["points"]]
    seeds = _seeds(curve)
    if len(sizes) < FEWEST_SIZES:
        return [_enough_sizes(curve, sizes, seeds, only)]
    more_seeds = _again(curve, sizes, max(MORE_SEEDS, 2 * seeds))
    wanted = sizes[-1] if series["verdict"] == "continue" else series["label"]
    if not wanted:
        return [step(f"More pairs alone would hardly tell: train more subsets of each size. {_SAME_RECIPE}", more_seeds)]
    told = [_larger(curve, [*sizes, sizes[-1] + int(wanted)], seeds, only)]
    if series["verdict"] == "unsure":
        told.append(step(f"Or train more subsets of each size, which needs no new pair. {_SAME_RECIPE}", more_seeds))
    return told


def _enough_sizes(curve: Mapping[str, Any], sizes: Sequence[int], seeds: int, only: str) -> dict[str, Any]:
    """Return how to get as many sizes as a fit needs: by subsets of the pairs that there are where that can be, else by more pairs."""
    label, enough = missing_sizes(sizes)
    if label and curve["pairs"] > sizes[-1]:
        label, enough = missing_sizes([*sizes, min(curve["pairs"], max(BEST_KNOWN, sizes[-1]))])
    needed = [int(size) for size in enough]
    if label:
        return _larger(curve, needed, seeds, only)
    reason = "1 size is" if len(sizes) == 1 else f"{len(sizes)} sizes are"
    reason += " too few for a fit, and no new pair is needed for more: train on other subsets too."
    return step(f"{reason} {_SAME_RECIPE}", _again(curve, needed, seeds))


def _larger(curve: Mapping[str, Any], sizes: Sequence[int], seeds: int, only: str) -> dict[str, Any]:
    """Return how to add the last of `sizes` to a curve: by the pairs that its dataset has, or by more; `only` begins the reason."""
    there, wanted = curve["pairs"], sizes[-1]
    if there >= wanted:
        return step(f"{only}The dataset has {there:,} pairs: add a size of {wanted:,}. {_SAME_RECIPE}", _again(curve, sizes, seeds))
    reason = f"{only}Write about {wanted - there:,} more pairs, make a dataset of all of them, and draw its curve with the same recipe."
    more = {**curve, "curve": "more", "dataset": "more"}
    return step(reason, DATASET.replace("mine", "more"), _again(more, sizes, seeds))


def _again(curve: Mapping[str, Any], sizes: Sequence[int], seeds: int) -> str:
    """Return the call that draws a curve with other sizes or seeds and leaves its other points as they are."""
    name, dataset = (quoted(curve[what]) for what in ("curve", "dataset"))
    steps = f" max_steps={curve['max_steps']}" if curve["max_steps"] > 0 else ""  # else a larger size would change those of all points
    asked = f"{_asked(curve)} --seeds {seeds} --sizes {','.join(map(str, sizes))}"
    return f"tweetmill curve run -r RECIPE name={name} dataset={dataset}{steps}{asked}"


def _best(curve: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how to use the model that scored best of those whose series is not proven worse than what needs no training."""
    proven_worse = {name for name, series in curve["series"].items() if better_without(series) is not None}
    best = best_model([each for each in curve["trained"] if series_of(each) not in proven_worse], curve["metric"])
    return [step("Use the model that scored best.", f"tweetmill summarize tweets.jsonl --model {quoted(best)} --wait")] if best else []


def _without_training(curve: Mapping[str, Any], better: Mapping[str, Any]) -> dict[str, Any]:
    """Return the advice to use a system without training, and how to see it beside the best model."""
    system, best = better["baseline"], best_model(curve["trained"], curve["metric"])
    what = _WITHOUT.get(system, "the untuned base by a prompt")
    told = f"Use {system}, {what}: the models of the largest size are proven worse ({better['low']:+.1f} to {better['high']:+.1f})."
    if best is None:
        return step(told, f"tweetmill curve show {quoted(curve['curve'])}")
    return step(f"{told} See it beside the best of them:", f"tweetmill compare {quoted(best)} {quoted(system)}")


def _look(first: str, curve: Mapping[str, Any]) -> dict[str, Any]:
    return step(f"{first} through those that there are for mistakes.", f"tweetmill review {quoted(curve['dataset'])}")


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


def best_model(trained: Sequence[Mapping[str, Any]], metric: str) -> str | None:
    """Return the name of the model with the highest score; None where none has one."""
    scored = [each for each in trained if each["scores"] and each["model"]]
    return str(max(scored, key=lambda each: each["scores"][metric]["value"])["model"]) if scored else None


def step(why: str, *commands: str) -> dict[str, Any]:
    """Return a step as plain JSON."""
    return {"why": why, "commands": list(commands)}


def quoted(name: str) -> str:
    """Return a name as a shell reads it."""
    return shlex.quote(name)
