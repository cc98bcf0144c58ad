"""Curves in a terminal, and in a PNG where matplotlib is there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

_EIGHTHS = " ▁▂▃▄▅▆▇█"

Point = tuple[int, float]
"""A step and its value."""


def curve(points: Sequence[Point], width: int = 60, height: int = 8) -> str:
    """The values over the steps as `height` lines, two or more, of block characters; many steps are averaged into one column.

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
    """At most `width` values: means of runs that are as equal in length as they can be."""
    if not values:
        raise ValueError("a curve needs at least one point")
    columns = min(width, len(values))
    edges = [len(values) * column // columns for column in range(columns + 1)]
    return [sum(values[start:stop]) / (stop - start) for start, stop in itertools.pairwise(edges)]


def save_curve(points: Sequence[Point], title: str, path: Path) -> None:
    """Write the curve as an image whose form the file's ending names.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the ending names no form of image.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([step for step, _ in points], [value for _, value in points], linewidth=1)
    axes.set(title=title, xlabel="step", ylabel="loss")
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=150)
