"""Tables with a column for each metric: the main ones on any terminal, the others where there is room, and captions below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from producers.render.output import styled
from schemas.metrics import CHECKS, Metric

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

Page = Callable[[Sequence[Metric]], "Sequence[RenderableType]"]
"""Makes what is printed with columns for these metrics."""


class MetricColumns:
    """A page whose tables have as many metrics as fit: the lowest weight is left out first."""

    def __init__(self, metrics: Sequence[Metric], page: Page) -> None:
        self._metrics, self._page = metrics, page

    @property
    def natural_width(self) -> int:
        """The width at which no metric is left out."""
        from producers.render.screen import Screen

        return max(self._widths(Screen(), self._metrics), default=0)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the page with the metrics that fit."""
        yield from self._page(self._fitting(console, options.max_width))

    def _fitting(self, console: Console, room: int) -> list[Metric]:
        shown = list(self._metrics)
        # A table that is too wide with the fewest metrics has other reasons: it is no narrower for fewer.
        fewest = self._widths(console, [metric for metric in self._metrics if not metric.weight])
        for metric in sorted((metric for metric in self._metrics if metric.weight), key=lambda metric: metric.weight):
            if all(width <= max(room, least) for width, least in zip(self._widths(console, shown), fewest, strict=True)):
                break
            shown.remove(metric)
        return shown

    def _widths(self, console: Console, metrics: Sequence[Metric]) -> list[int]:
        from rich.measure import Measurement
        from rich.table import Table

        unbounded = console.options.update(width=10_000)
        return [Measurement.get(console, unbounded, part).maximum for part in self._page(metrics) if isinstance(part, Table)]


def heading(metric: Metric) -> str:
    """Return the head of a column, on two lines where it has several words: its figures are narrower."""
    return metric.head.replace(" ", "\n", 1)


def captions(shown: Sequence[Metric], metrics: Sequence[Metric]) -> list[RenderableType]:
    """Return what the heads do not say of the checks and of metrics without a better end, and which metrics there was no room for."""
    explained = [metric.caption_line for metric in shown if metric.key in CHECKS or metric.better == "neither"]
    lines: list[RenderableType] = [styled(f"{caption[0].upper()}{caption[1:]}.", style="dim") for caption in explained]
    left_out = [metric.head for metric in metrics if metric not in shown]
    if left_out:
        lines.append(styled(f"{', '.join(left_out)}: on a wider terminal, and with --json.", style="dim"))
    return lines
