"""What optional scorers found, as people read it: a table of the systems, one of their differences, and what a judge said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from producers.render.output import line, styled, titled_table
from schemas.metrics import Metric, metrics_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_LEAST_AGREEMENT = 0.5  # what a coin would have

Pairs = Sequence[Mapping[str, Any]]


def scored(systems: Mapping[str, Any], scorers: Mapping[str, Any], pairs: Pairs = ()) -> list[RenderableType]:
    """Return the tables of optional scorers.

    Args:
        systems: by name the figures of each.
        scorers: by metric what scored.
        pairs: paired differences of systems, of all metrics.
    """
    metrics = metrics_of(scorers)
    if not metrics:
        return []
    by_model = ", ".join(f"{metric.key} by {line(str(scorers[metric.key]['model']))}" for metric in metrics)
    parts: list[RenderableType] = [_systems(systems, metrics, by_model)]
    differences = [pair for pair in pairs if pair["metric"] in scorers]
    if differences:
        parts.append(_differences(differences, metrics))
    parts.append(styled(". ".join(metric.caption_line for metric in metrics) + ".", style="dim"))
    return parts


def _systems(systems: Mapping[str, Any], metrics: Sequence[Metric], by_model: str) -> Table:
    table = titled_table(f"Optional scorers, each with its 95% interval: {by_model}")
    table.add_column("system", overflow="fold")
    for metric in metrics:
        table.add_column(metric.head, justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for name, figures in systems.items():
        cells = [_cell(figures[metric.key], metric, "value") for metric in metrics]
        table.add_row(styled(line(name)), *cells, f"{figures[metrics[0].key]['n']:,}")
    return table


def _differences(pairs: Pairs, metrics: Sequence[Metric]) -> Table:
    table = titled_table("Their differences on the same rows")
    table.add_column("pair", overflow="fold")
    for metric in metrics:
        table.add_column(metric.head, justify="right", no_wrap=True)
    found = {(pair["a"], pair["b"], pair["metric"]): pair for pair in pairs}
    for first, second in dict.fromkeys((pair["a"], pair["b"]) for pair in pairs):
        cells = [_cell(found[first, second, metric.key], metric, "difference") for metric in metrics]
        table.add_row(styled(line(f"{first} - {second}")), *cells)
    return table


def judged(result: Mapping[str, Any]) -> list[RenderableType]:
    """Return what a judge said of each pair, and for each how far it can be trusted."""
    table = titled_table(f"The judge {line(result['model'])}, asked about each row in both orders")
    table.add_column("pair", overflow="fold")
    for title in ("first better", "second", "tie", "unreadable", "n"):
        table.add_column(title, justify="right", no_wrap=True)
    for pair in result["pairs"]:
        cells = [f"{pair[count]:,}" for count in ("first", "second", "tie", "unreadable", "n")]
        table.add_row(styled(line(f"{pair['a']}, {pair['b']}")), *cells)
    return [table, *(styled(f"{line(pair['a'])} and {line(pair['b'])}: {trust(pair)}") for pair in result["pairs"])]


def trust(pair: Mapping[str, Any]) -> str:
    """Say in words how often a judge agrees with the references on two systems, and how often the place decided."""
    agreement, by_place = pair["agreement"], pair["by_place"]
    if agreement is None:
        told = f"there is no row on which both the references (by {pair['margin']:g} SARI) and the judge decide: nothing shows its worth."
        if pair["unreadable"]:
            told += f" {pair['unreadable']:,} rows are unreadable: a larger model may keep to the form."
    else:
        told = (
            f"on {agreement['n']:,} rows the references (by {pair['margin']:g} SARI) and the judge decide, and it picks the same on"
            f" {_percent(agreement)}; always the same system would on {pair['majority']:.0%}."
        )
        if agreement["low"] <= max(pair["majority"], _LEAST_AGREEMENT):
            told += " It is not shown to be better than that: don't decide by it."
    if by_place is not None:
        told += (
            f" In {_percent(by_place)} of {by_place['n']:,} rows it named the same place in both orders,"
            f" {pair['to_first']:,} times the first: those are ties."
        )
    return told


def _percent(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.0%} ({100 * figure['low']:.0f} to {100 * figure['high']:.0f})"


def _cell(figure: Mapping[str, float], metric: Metric, value: str) -> str:
    sign = "+" if value == "difference" else ""
    return f"{metric.scale * figure[value]:{sign}.1f} ({metric.scale * figure['low']:.1f} to {metric.scale * figure['high']:.1f})"
