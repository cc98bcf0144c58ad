"""Renders what was gathered as one HTML page that needs nothing beside it: no script, no network, no font of its own.

Names and texts are data: Jinja escapes them, and characters that would hide something or turn a line round are written as their escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """The pictures of a page: most of them twice, for a wide and a narrow window, of which the CSS shows one."""

    def __init__(self) -> None:
        self._drawn = 0

    def together(self, curve: Mapping[str, Any]) -> Markup:
        """Return the means of all series of a curve in one picture."""
        title = f"Curve {curve['curve']}: all series, as measured"

        def draw(width: int) -> Markup:
            return charts.curve(curve["series"], None, _baselines(curve), _metric(curve), width, self._name(), title, ahead={})

        return _both(draw)

    def alone(self, curve: Mapping[str, Any], name: str, *, small: bool = False) -> Markup:
        """Return one series of a curve with its models and what is foretold; `small`: as for a narrow window in any."""
        one = {name: curve["series"][name]}
        ahead, first = {name: advice.foretold(curve["series"][name])}, list(curve["series"]).index(name)
        singles = _singles(curve, one)
        title = f"Curve {curve['curve']}: {name}"

        def draw(width: int) -> Markup:
            return charts.curve(one, singles, _baselines(curve), _metric(curve), width, self._name(), title, ahead=ahead, first=first)

        return draw(charts.NARROW) if small else _both(draw)

    def intervals(self, systems: Mapping[str, Mapping[str, Any]], main: str) -> Markup:
        """Return the headline metric of a table's systems with its intervals."""
        metric = scores.headline(systems)
        figures = {name: of_system[metric] for name, of_system in systems.items() if metric in of_system}
        title = f"{scores.title(metric)} of {len(figures)} systems on the same rows"

        def draw(width: int) -> Markup:
            return charts.intervals(figures, main, scores.title(metric), width, self._name(), title, scores.scale(metric))

        return _both(draw)

    def _name(self) -> str:
        self._drawn += 1
        return f"chart{self._drawn}"


def _both(draw: Callable[[int], Markup]) -> Markup:
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(draw(charts.WIDE), draw(charts.NARROW))


def _baselines(curve: Mapping[str, Any]) -> dict[str, float]:
    return {name: figure["value"] for name, figure in curve["baselines"].items()}


def _metric(curve: Mapping[str, Any]) -> str:
    return scores.title(curve["metric"])


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
