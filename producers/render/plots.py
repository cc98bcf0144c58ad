"""Curves in a terminal, and images where matplotlib is installed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from producers.render.output import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_PANELS_ACROSS = 4

Point = tuple[int, float]
"""A step and its value."""


@contextmanager
def asked_for(path: Path, what: str) -> Iterator[None]:
    """Let `--plot` be drawn within, and say where it is.

    Raises:
        SettingsError: matplotlib is not installed.
        DestinationError: nothing can be written there.
        BadParameter: the ending names no form of image.
    """
    from workers import destinations
    from workers.errors import SettingsError

    destinations.check(path)
    try:
        yield
    except ImportError:
        raise SettingsError("--plot needs matplotlib: `pip install 'tweetmill[monitor]'`") from None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--plot") from None
    say(f"{what}: {path}")


def curve(points: Sequence[Point], width: int = 60, height: int = 8) -> str:
    """Return the values over the steps as `height` lines, two or more, of block characters; many steps are averaged into one column.

    Raises:
        ValueError: there are no points.
    """
    columns = _averaged([value for _, value in points], width)
    low, high = min(columns), max(columns)
    spread = (high - low) or 1.0
    # The lowest column keeps one eighth, so that it can be seen.
    eighths = [1 + round((value - low) / spread * (height * 8 - 1)) for value in columns]
    labels = [f"{high:.3f}", *[""] * (height - 2), f"{low:.3f}"]
    margin = max(map(len, labels))
    lines = []
    for row, label in enumerate(labels):
        floor = (height - 1 - row) * 8
        lines.append(f"{label:>{margin}} ┤" + "".join(_EIGHTHS[max(0, min(8, filled - floor))] for filled in eighths).rstrip())
    first, last = str(points[0][0]), str(points[-1][0])
    lines.append(" " * (margin + 2) + first + last.rjust(max(len(last) + 1, len(columns) - len(first))))
    return "\n".join(lines)


def _averaged(values: Sequence[float], width: int) -> list[float]:
    """Return at most `width` values: means of runs that are as equal in length as they can be."""
    if not values:
        raise ValueError("a curve needs at least one point")
    columns = min(width, len(values))
    edges = [len(values) * column // columns for column in range(columns + 1)]
    return [sum(values[start:stop]) / (stop - start) for start, stop in itertools.pairwise(edges)]


def _save(figure: Figure, path: Path) -> None:
    """Write a picture whole or not at all, in the form that the ending names; without one, as to a device, in PNG."""
    from workers import destinations

    form = path.suffix.removeprefix(".").lower() or "png"
    with destinations.open_binary(path) as out:
        figure.savefig(out, format=form, dpi=150)


def spark(points: Sequence[Point], width: int = 30) -> str:
    """Return the values over the steps as one line of block characters.

    Raises:
        ValueError: there are no points.
    """
    columns = _averaged([value for _, value in points], width)
    low, spread = min(columns), (max(columns) - min(columns)) or 1.0
    return "".join(_EIGHTHS[1 + round((value - low) / spread * 7)] for value in columns)


def save_training(series: Mapping[str, Sequence[Point]], baselines: Mapping[str, float], title: str, path: Path) -> None:
    """Draw the losses of a training and of its evaluations as an image; SARI below them, with a line for each baseline, where there is any.

    Args:
        series: `loss`, `eval_loss` and `eval_sari` by step, those that there are.
        baselines: SARI by name.
        title: of the picture.
        path: its ending names the form of image.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the ending names no form of image.
    """
    from matplotlib.figure import Figure

    sari = series.get("eval_sari", ())
    figure = Figure(figsize=(8, 7.5 if sari else 4.5), layout="constrained")
    axes = figure.subplots(2 if sari else 1, 1, sharex=True, squeeze=False)[:, 0]
    for name, label, marker in (("loss", "training", ""), ("eval_loss", "evaluation", "o")):
        if points := series.get(name, ()):
            axes[0].plot(
                [step for step, _ in points], [value for _, value in points], label=label, marker=marker, linewidth=1, markersize=4
            )
    axes[0].set(title=title, ylabel="loss")
    if sari:
        axes[1].plot([step for step, _ in sari], [value for _, value in sari], marker="o", markersize=4, label="model")
        for (name, value), style in zip(baselines.items(), itertools.cycle(("--", ":", "-.")), strict=False):
            axes[1].axhline(value, linestyle=style, color="0.5", label=name)
        axes[1].set(ylabel="SARI")
    axes[-1].set(xlabel="step")
    for each in axes:
        each.grid(visible=True, alpha=0.3)
        each.legend()
    _save(figure, path)


def save_shares(measures: dict[str, dict[str, Any]], sides: Sequence[str], title: str, path: Path, shown: int = 28) -> None:
    """Draw shares of texts: a line a measure, a hollow ring for real tweets and a dot for each kind of synthetic ones.

    Args:
        measures: by name: `words`, and the share for `real` and for each of `sides`, from 0 to 1.
        sides: the kinds, in the order of the legend.
        title: of the picture.
        path: its ending names the form of image.
        shown: at most this many measures, those first in which the kinds lie farthest from real.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the ending names no form of image.
    """
    from matplotlib.figure import Figure

    def distance(measure: dict[str, Any]) -> float:
        return max(abs(float(measure[side]) - float(measure["real"])) for side in sides)

    telling = sorted(measures.values(), key=distance, reverse=True)[:shown][::-1]
    figure = Figure(figsize=(9, 1.2 + 0.26 * len(telling)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(telling))
    for side, colour in zip(sides, itertools.cycle(("0.75", "tab:orange", "tab:blue")), strict=False):
        axes.scatter([measure[side] for measure in telling], places, s=28, color=colour, label=side)
    axes.scatter([measure["real"] for measure in telling], places, s=64, facecolors="none", edgecolors="black", label="real")
    axes.set_yticks(places, [measure["words"] for measure in telling], fontsize=8)
    axes.set(title=title, xlabel="share of texts", xlim=(-0.02, 1.02))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper right")
    _save(figure, path)


def save_intervals(panels: Sequence[tuple[str, Sequence[tuple[str, float, float, float]]]], title: str, path: Path) -> None:
    """Draw figures as dots with their intervals: a panel a metric, a line a system.

    Args:
        panels: by the metric's name: the name of each system, its value, and where its interval begins and ends.
        title: of the picture.
        path: its ending names the form of image.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the ending names no form of image.
    """
    from matplotlib.figure import Figure

    lines = max(len(rows) for _, rows in panels)
    across = min(len(panels), _PANELS_ACROSS)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(2.2 + 2.4 * across, 0.6 + down * (0.7 + 0.35 * lines)), layout="constrained")
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    for place, (metric, rows) in enumerate(panels):
        axes = grid[place]
        places = range(len(rows))[::-1]  # the first one above
        values = [value for _, value, _, _ in rows]
        # An interval of the bootstrap may lie to one side of its value, if barely.
        margins = [[max(0.0, value - low) for _, value, low, _ in rows], [max(0.0, high - value) for _, value, _, high in rows]]
        axes.errorbar(values, places, xerr=margins, fmt="o", markersize=5, capsize=3)
        is_first = place % across == 0
        axes.set_yticks(places, [name for name, *_ in rows] if is_first else [""] * len(rows), fontsize=8)
        axes.set(xlabel=metric, ylim=(-0.6, len(rows) - 0.4))
        axes.grid(visible=True, axis="x", alpha=0.3)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def save_curves(
    measured: Mapping[str, Sequence[tuple[float, float]]],
    foretold: Mapping[str, Sequence[tuple[float, float, float, float]]],
    metric: str,
    title: str,
    path: Path,
) -> None:
    """Draw a figure over the number of pairs, which doubles from mark to mark: what was measured, and what is foretold with its interval.

    Args:
        measured: size and value, by the curve's name, in the order of the sizes.
        foretold: size, value, and where its interval begins and ends, of the same curves.
        metric: of the values.
        title: of the picture.
        path: its ending names the form of image.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the ending names no form of image.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(measured.items()):
        colour = f"C{number}"
        axes.plot([size for size, _ in points], [value for _, value in points], marker="o", markersize=5, color=colour, label=name)
        ahead = [points[-1], *((size, value) for size, value, _, _ in foretold[name])]
        axes.plot([size for size, _ in ahead], [value for _, value in ahead], linestyle="--", color=colour)
        for size, value, low, high in foretold[name]:
            axes.errorbar([size], [value], yerr=[[value - low], [high - value]], fmt="o", capsize=4, color=colour, markerfacecolor="white")
    sizes = sorted({size for rows in measured.values() for size, _ in rows} | {row[0] for rows in foretold.values() for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.set(title=title, xlabel="pairs", ylabel=metric)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    _save(figure, path)
