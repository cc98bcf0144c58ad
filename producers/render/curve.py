"""A learning curve as people read it: its points beside the baselines, what more pairs would bring, and the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from producers.render.output import line, styled
from producers.render.quantities import duration

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

_SAID = {"continue": "Continue: more pairs are worth it.", "stop": "Stop: more pairs are not worth it."}


def fitted_page(answer: Mapping[str, Any]) -> RenderableType:
    """Return what was fitted to points: them, what is foretold, and the verdict."""
    from rich.console import Group

    return Group(points_table(answer), "", *verdict_words(answer))


def points_table(answer: Mapping[str, Any]) -> Table:
    """Return the means by size, and below them what is foretold with its interval; the dots beside them are the curve, on its side."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("pairs", "value", "95% interval", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    ends = [point["value"] for point in answer["points"]]
    ends += [each[end] for each in answer["predictions"] for end in ("low", "high")]
    low, high = min(ends), max(ends)
    for point in answer["points"]:
        drawn = dot_line(point["value"], point["value"], point["value"], low, high)
        table.add_row(f"{point['size']:g}", f"{point['value']:.4g}", "", str(point["n"]), drawn)
    for each in answer["predictions"]:
        drawn = dot_line(each["value"], each["low"], each["high"], low, high)
        table.add_row(f"{each['size']:g}", f"{each['value']:.4g}", f"{each['low']:.4g} to {each['high']:.4g}", "foretold", drawn)
    return table


def dot_line(value: float, low: float, high: float, left: float, right: float, width: int = 22) -> str:
    """Return `├──●──┤` on a scale from `left` to `right` that is `width` characters wide; a dot alone where the interval has no width."""

    def place(number: float) -> int:
        return round((number - left) / (right - left) * (width - 1)) if right > left else 0

    first, dot, last = place(low), place(value), place(high)
    cells = [" "] * first + ["─"] * (last - first + 1)
    cells[first], cells[last] = "├", "┤"
    cells[dot] = "●"
    return "".join(cells)


def verdict_words(answer: Mapping[str, Any]) -> Sequence[str]:
    """Return the verdict in sentences: what to do, what twice the pairs would bring, and what is not to be relied on."""
    gain = answer["gain"]
    bring = f"Twice the pairs would bring {gain['value']:+.3g} ({gain['low']:+.3g} to {gain['high']:+.3g}); {answer['worth']:.3g} counts."
    lines = [_SAID.get(answer["verdict"], f"Unsure: {answer['reason']}."), bring, _cost_words(answer["cost"])]
    if answer["verdict"] == "unsure":
        more = answer["label"]
        lines.append(f"Label {more} more to know." if more else "More pairs alone would hardly tell: use more seeds or test rows.")
    lines += [f"{each['size']:g} pairs: not to be relied on, {each['refused']}." for each in answer["predictions"] if each["refused"]]
    return lines


def _cost_words(cost: Mapping[str, Any]) -> str:
    more = f"{cost['pairs']:,.0f} pairs more at {cost['minutes_a_pair']:g} min each are {duration(cost['hours'] * 3600)} of your time"
    return f"{more}, {cost['gain_an_hour']:+.3g} an hour." if cost["gain_an_hour"] is not None else f"{more}."


def drawn_page(answer: Mapping[str, Any]) -> RenderableType:
    """Return a curve that was drawn over the queue: a part for each method and origin, after the baselines on the same rows."""
    from rich.console import Group

    parts: list[RenderableType] = []
    if answer["baselines"]:
        scores = ", ".join(f"{line(name)} {figure['value']:.1f}" for name, figure in answer["baselines"].items())
        parts.append(styled(f"SARI on {answer['n']:,} held-back rows. Without a model: {scores}.", style="dim"))
    for name, series in answer["series"].items():
        parts += [styled(line(name), style="bold"), points_table(series), "", *verdict_words(series), ""]
    if answer["failed"]:
        parts.append(styled(f"{answer['failed']} points have no score: `tweetmill jobs --state failed` lists their jobs.", style="yellow"))
    parts.append(styled(answer["budget_words"], style="dim"))
    return Group(*parts)


def plan_table(plan: Mapping[str, Any]) -> RenderableType:
    """Return what a curve will take, before it starts."""
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("pairs", "points", "steps each", "examples seen"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in plan["sizes"]:
        table.add_row(f"{row['size']:,}", str(row["points"]), row["steps"], f"{row['examples']:,}")
    return Group(table, "", plan["words"])


def save_plot(series: Mapping[str, Mapping[str, Any]], metric: str, title: str, path: Path) -> None:
    """Draw curves as an image: what was measured, and what is foretold with its interval.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the ending names no form of image.
    """
    from producers.render.plots import save_curves

    measured = {name: [(point["size"], point["value"]) for point in answer["points"]] for name, answer in series.items()}
    foretold = {
        name: [(each["size"], each["value"], each["low"], each["high"]) for each in answer["predictions"]]
        for name, answer in series.items()
    }
    save_curves(measured, foretold, metric, title, path)
