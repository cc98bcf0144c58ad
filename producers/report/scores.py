"""Reads results of evaluations and comparisons, whatever systems, metrics and slices they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from producers.render.scorers import trust
from schemas.metrics import DEFINITIONS

HEADLINES = ("sari", "err")
"""The metric by which systems are told apart: the first that a table has."""


def is_figure(value: Any) -> bool:
    """Whether a value is a figure with its interval."""
    return isinstance(value, Mapping) and all(isinstance(value.get(part), (int, float)) for part in ("value", "low", "high"))


def table(found: Any) -> dict[str, dict[str, Any]]:
    """Return the figures of each system by metric that a part of a result holds; other keys beside them are left out."""
    if not isinstance(found, Mapping):
        return {}
    systems = {}
    for system, of_system in found.items():
        figures = {metric: figure for metric, figure in of_system.items() if is_figure(figure)} if isinstance(of_system, Mapping) else {}
        if figures:
            systems[system] = figures
    return systems


def tables(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of a result as `title`, `n` and `systems` by metric, the best first: all rows, long tweets, and each slice."""
    found = [("All rows", table(result)), ("Tweets of more than 20 words", table(result.get("long")))]
    slices = result.get("slices")
    for name, part in slices.items() if isinstance(slices, Mapping) else ():
        if name != "long" or not found[1][1]:
            found.append((f"Slice: {name}", _of_slice(part)))
    return [{"title": title, "n": _count(systems), "systems": _ordered(systems)} for title, systems in found if systems]


def _of_slice(part: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures of a slice by system and metric: there they stand by metric and system, and paired differences beside them."""
    turned: dict[str, dict[str, Any]] = {}
    for metric, systems in part.items():
        for system, figure in systems.items() if isinstance(systems, Mapping) and metric != "margins" else ():
            if is_figure(figure):
                turned.setdefault(system, {})[metric] = figure
    return turned


def _ordered(systems: Mapping[str, Any]) -> dict[str, Any]:
    """Return the best first, by the headline: Postgres keeps no order of the keys of an object."""
    metric = headline(systems)
    return dict(sorted(systems.items(), key=lambda item: -item[1].get(metric, {"value": 0})["value"]))


def _count(systems: Mapping[str, Mapping[str, Any]]) -> int | None:
    return next((figure.get("n") for figures in systems.values() for figure in figures.values()), None)


def headline(systems: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the metric by which the systems of a table are told apart."""
    there = metrics(systems)
    return next((metric for metric in HEADLINES if metric in there), there[0])


def metrics(systems: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the metrics of a table: those that are known in their order, then the others by name."""
    there = {metric for figures in systems.values() for metric in figures}
    known = [metric for metric in DEFINITIONS if metric in there]
    return known + sorted(there - set(known))


def title(metric: str) -> str:
    """Return a metric's name for people."""
    return DEFINITIONS[metric].head if metric in DEFINITIONS else metric


def scale(metric: str) -> int:
    """Return what a figure is multiplied by to be shown: shares are shown from 0 to 100."""
    return DEFINITIONS[metric].scale if metric in DEFINITIONS else 1


def captions(systems: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what each metric of a table counts, where that is known."""
    return [DEFINITIONS[metric].caption_line for metric in metrics(systems) if metric in DEFINITIONS]


def judge_words(result: Mapping[str, Any]) -> list[str]:
    """Return what a judge said of each pair of systems, and how far it can be trusted; nothing where none was asked."""
    judge = result.get("judge")
    return [_of_judge(judge["model"], pair) for pair in judge["pairs"]] if judge else []


def _of_judge(model: str, pair: Mapping[str, Any]) -> str:
    counts = f"{pair['first']:,} times {pair['a']}, {pair['second']:,} times {pair['b']}, {pair['tie']:,} ties, of {pair['n']:,} rows"
    return f"The judge {model} preferred {counts}: {trust(pair)}"


def judged(result: dict[str, Any], judge: Callable[[dict[str, Any]], str]) -> str | None:
    """Return what a result shows in a sentence; None for one of an older release that lacks what the sentence needs."""
    try:
        return judge(result)
    except (KeyError, StopIteration):
        return None
