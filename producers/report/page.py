"""Renders what was gathered as one HTML page that needs nothing beside it: no script, no network, no font of its own.

Names and texts are data: Jinja escapes them, and characters that would hide something or turn a line round are written as their escapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from producers.render.quantities import duration
from producers.report import advice, charts, provenance, scores
from workers.showable import showable

_PACKAGE = "producers.report"
_VERDICTS = {
    "continue": "Continue",
    "stop": "Stop",
    "unsure": "Unsure",
    "measured": "No curve yet",
    "nothing": "Nothing measured yet",
}
_HOURS, _SECONDS, _USD = "hours", "seconds", "usd"


def page(found: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        found: as `producers.report.gather.gather` returns it.
    """
    templates = PackageLoader(_PACKAGE)
    environment = Environment(
        loader=templates,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: showable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters |= {"duration": duration, "moment": _moment, "points": _points, "sentence": _sentence, "captions": scores.captions}
    environment.globals |= {
        "QUESTION": advice.QUESTION,
        "VERDICTS": _VERDICTS,
        "advice": advice,
        "scores": scores,
        "drawing": Drawing(),
        "swatch": charts.swatch,
        "told": _told,
        "times": _times,
    }
    style = Markup(templates.get_source(environment, "page.css")[0])  # noqa: S704 - ours
    return environment.get_template("page.html").render(found=found, style=style, provenance=provenance.rows(found))


class Drawing:
    """The pictures of a page: each twice, for a wide and a narrow window, of which the CSS shows one."""

    def __init__(self) -> None:
        self._drawn = 0

    def together(self, curve: Mapping[str, Any]) -> Markup:
        """Return all series of a curve in one picture, without what is foretold."""
        title = f"Curve {curve['curve']}: all series, as measured"
        return self._both(lambda width, ident: self._curve(curve, curve["series"], width, ident, title, ahead={}, first=0))

    def alone(self, curve: Mapping[str, Any], name: str) -> Markup:
        """Return one series of a curve with what is foretold."""
        first = list(curve["series"]).index(name)
        title = f"Curve {curve['curve']}: {name}"
        one = {name: curve["series"][name]}
        ahead = {name: advice.foretold(curve["series"][name])}
        return self._both(lambda width, ident: self._curve(curve, one, width, ident, title, ahead=ahead, first=first))

    def intervals(self, systems: Mapping[str, Mapping[str, Any]], main: str) -> Markup:
        """Return the headline metric of a table's systems with its intervals."""
        metric = scores.headline(systems)
        figures = {name: of_system[metric] for name, of_system in systems.items() if metric in of_system}
        title = f"{scores.title(metric)} of {len(figures)} systems on the same rows"
        return self._both(
            lambda width, ident: charts.intervals(figures, main, scores.title(metric), width, ident, title, scores.scale(metric))
        )

    def _curve(
        self,
        curve: Mapping[str, Any],
        series: Mapping[str, Any],
        width: int,
        ident: str,
        title: str,
        *,
        ahead: Mapping[str, Any],
        first: int,
    ) -> Markup:
        baselines = {name: figure["value"] for name, figure in curve["baselines"].items()}
        metric = scores.title(curve["metric"])
        singles = _singles(curve, series)
        return charts.curve(series, singles, baselines, metric, width, ident, title, ahead=ahead, first=first)

    def _both(self, draw: Any) -> Markup:
        self._drawn += 1
        wide, narrow = (draw(width, f"chart{self._drawn}-{width}") for width in (charts.WIDE, charts.NARROW))
        return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow)


def _singles(curve: Mapping[str, Any], series: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Return of each series the size and the score of each of its models."""
    from producers.curve.report import series_of

    found: dict[str, list[tuple[float, float]]] = {name: [] for name in series}
    for each in curve["trained"]:
        name = series_of(each)
        if name in found and each["scores"]:
            found[name].append((each["size"], each["scores"][curve["metric"]]["value"]))
    return found


def _told(values: Mapping[str, Any], of: str = "") -> list[tuple[str, str]]:
    """Return a nested mapping as names and values for people, whatever keys it has; what is not known is left out."""
    told = []
    for key, value in values.items():
        name = f"{of} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            told += _told(value, name)
        elif value is not None and value != "":
            told.append((name, _quantity(key, value)))
    return told


def _quantity(key: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if key.startswith(_SECONDS) or key == _HOURS:
        return duration(value * 3600 if key == _HOURS else value) if value >= 1 or key == _HOURS else f"{value:.2g} s"
    if key.startswith(_USD):
        return f"{value:,.2f} USD"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _times(curve: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each size of a curve how many trainings there were, and what one and all of them took."""
    by_size: dict[int, list[float]] = {}
    for each in curve["trained"]:
        if each["seconds"]:
            by_size.setdefault(each["size"], []).append(each["seconds"])
    return [{"size": size, "count": len(took), "median": median(took), "total": sum(took)} for size, took in sorted(by_size.items())]


def _points(figure: Mapping[str, Any], metric: str, part: str = "value", sign: str = "") -> str:
    return f"{scores.scale(metric) * figure[part]:{sign}.1f}"


def _moment(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if isinstance(at, datetime) else ""


def _sentence(parts: Sequence[str]) -> str:
    return ", ".join(parts)
