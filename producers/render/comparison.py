"""A comparison as people read it: a table of the systems, one of each pair's differences, the worst rows, and the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from producers.render.metric_columns import MetricColumns, captions, heading
from producers.render.output import line, styled, titled_table
from producers.render.scorers import judged, scored
from schemas.metrics import Metric, metrics_of

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

_SPACE = 200  # characters of a tweet or a reference in the list of the worst rows

Texts = Mapping[str, tuple[str, str]]
"""By the key of a row: its tweet and its reference."""


def priced(result: dict[str, Any], usd_per_hour: float | None) -> dict[str, Any]:
    """Return a job's result with its systems in the order in which they were named, and where a price is given, what each one costs."""
    systems = {name: result["systems"][name] for name in result["order"]}
    if usd_per_hour is None:
        return result | {"systems": systems}
    costs = {name: system["cost"] | {"usd": system["cost"]["seconds"] / 3600 * usd_per_hour} for name, system in systems.items()}
    return result | {"systems": {name: systems[name] | {"cost": costs[name]} for name in systems}, "usd_per_hour": usd_per_hour}


def page(result: dict[str, Any], texts: Texts) -> RenderableType:
    """Return the whole comparison."""
    metrics = _metrics(result)

    def parts(shown: Sequence[Metric]) -> list[RenderableType]:
        found: list[RenderableType] = [_training(result["training"])] if "training" in result else []
        found += [_systems(result, shown), _costs(result), _pairs(result, shown), *captions(shown, metrics)]
        found.append(styled(_note(result), style="dim"))
        found += scored(result["systems"], result.get("scorers", {}), result["pairs"])
        found += judged(result["judge"]) if "judge" in result else []
        for name in result["systems"]:
            found += worst_rows(name, result["worst"][name], texts)
        return found + [styled(sentence, style="bold") for sentence in result["verdict"]]

    return MetricColumns(metrics, parts)


def save_plot(result: dict[str, Any], path: Path) -> None:
    """Draw each metric's figures with their intervals.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the ending names no form of image.
    """
    from producers.render.plots import save_intervals

    panels = []
    for metric in _metrics(result):
        figures = [(name, system[metric.key]) for name, system in result["systems"].items()]
        rows = [(name, *(metric.scale * figure[part] for part in ("value", "low", "high"))) for name, figure in figures]
        panels.append((metric.head, rows))
    save_intervals(panels, f"{_count(result):,} rows, 95% intervals", path)


def _metrics(result: dict[str, Any]) -> list[Metric]:
    """Return the metrics that the result has, but for those of scorers, which have a table of their own."""
    return metrics_of(next(iter(result["systems"].values())).keys() - result.get("scorers", {}).keys())


def _systems(result: dict[str, Any], metrics: Sequence[Metric]) -> Table:
    table = titled_table(f"Systems, {_count(result):,} rows of the {result['references']}, each figure above its 95% interval")
    table.add_column("system", overflow="fold")
    for metric in metrics:
        table.add_column(heading(metric), justify="right", no_wrap=True)
    for name, system in result["systems"].items():
        table.add_row(styled(line(name)), *(_interval(system[metric.key], metric, "value") for metric in metrics))
    return table


def _training(trained: dict[str, Any]) -> Table:
    table = titled_table("Trained at an equal budget: as many optimizer steps of as many examples")
    for title in ("system", "recipe"):
        table.add_column(title, overflow="fold")
    for title in ("steps", "tokens", "seconds"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, made in trained.items():
        cells = (f"{made['steps']:,}", f"{made['tokens']:,}", f"{made['seconds']:.1f}")
        table.add_row(styled(line(name)), styled(line(made["recipe"])), *cells)
    return table


def _costs(result: dict[str, Any]) -> Table:
    table = titled_table("What it took")
    table.add_column("system", overflow="fold")
    for title in ("s/tweet", "seconds", "tokens in", "out", "rewritten", "replaced", *(["USD"] if "usd_per_hour" in result else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for name, system in result["systems"].items():
        cost = system["cost"]
        cells = [f"{cost['seconds_per_tweet']:.2g}", f"{cost['seconds']:.1f}", f"{cost['tokens_in']:,}", f"{cost['tokens_out']:,}"]
        cells += [f"{cost['retried']:,}", f"{cost['fallbacks']:,}"] + ([f"{cost['usd']:.4f}"] if "usd" in cost else [])
        table.add_row(styled(line(name)), *cells)
    return table


def _pairs(result: dict[str, Any], metrics: Sequence[Metric]) -> Table:
    table = titled_table("Differences on the same rows, each above its 95% interval")
    table.add_column("pair", overflow="fold")
    for metric in metrics:
        table.add_column(heading(metric), justify="right", no_wrap=True)
    names = dict.fromkeys((pair["a"], pair["b"]) for pair in result["pairs"])
    found = {(pair["a"], pair["b"], pair["metric"]): pair for pair in result["pairs"]}
    for first, second in names:
        cells = [_interval(found[first, second, metric.key], metric, "difference") for metric in metrics]
        table.add_row(styled(line(f"{first} - {second}")), *cells)
    return table


def _note(result: dict[str, Any]) -> str:
    count = len(result["pairs"])
    return (
        f"{count} differences, each with a 95% interval: where nothing differs, about {count / 20:.1f} of them would exclude 0 by chance."
        " Decide by the one that you asked for beforehand, or compare again on other rows; the verdicts by SARI count all pairs."
    )


def worst_rows(name: str, rows: Sequence[Mapping[str, Any]], texts: Texts) -> list[RenderableType]:
    """Return the lines of a system's worst rows: scores and ids, with tweet and reference where they are known."""
    parts: list[RenderableType] = [styled(f"Worst rows of {line(name)} (SARI)", style="bold")]
    for row in rows:
        parts.append(styled(f"  {row['sari']:5.1f}  {line(row['id'])}"))
        tweet, reference = texts.get(row["id"], ("", ""))
        parts += [
            styled(f"         {what}: {line(text)[:_SPACE]}", "dim") for what, text in (("tweet", tweet), ("wanted", reference)) if text
        ]
    return parts


def _interval(figure: Mapping[str, float], metric: Metric, value: str) -> str:
    """Return the figure above its interval: five such columns fit into 80 characters."""
    scale = metric.scale
    sign = "+" if value == "difference" else ""
    return f"{scale * figure[value]:{sign}.1f}\n{scale * figure['low']:.1f}, {scale * figure['high']:.1f}"


def _count(result: dict[str, Any]) -> int:
    return int(next(iter(result["systems"].values()))["sari"]["n"])
