"""Draws charts as SVG: text and shapes alone, coloured by the page's CSS, so that light, dark and print have colours of their own.

A chart is drawn at the width at which it is shown, in CSS pixels: a picture that is scaled down to a phone has letters nobody can read.
Colour never stands alone: each series has a marker of its own, and what is foretold is dashed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

WIDE, NARROW = 840, 320
"""Widths of a chart, in CSS pixels."""

MARKERS = 6
"""Series that look different from each other; more begin anew."""

_LETTER = 6.6  # CSS pixels, about, of a letter of a label
_LINE = 15  # of a line of labels


@dataclass(frozen=True)
class Scale:
    """Maps figures from `low` to `high` to pixels from `start` to `stop`; by their logarithm where `log`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a figure."""
        low, high, here = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        share = (here - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.stop - self.start), 1)


def tag(name: str, *inside: Any, **attributes: Any) -> Markup:
    """Return an element; texts inside are escaped, and `_` in a name of an attribute stands for `-`, a closing one for nothing."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-") if key != "viewBox" else key}="{escape(value)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>{''.join(escape(each) for each in inside)}</{name}>")  # noqa: S704 - every part is escaped


def picture(parts: Sequence[Markup], width: float, height: float, ident: str, title: str, text: str) -> Markup:
    """Return an SVG that a screen reader names by its title and describes by a text."""
    named = (tag("title", title, id=f"{ident}-title"), tag("desc", text, id=f"{ident}-desc"))
    size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    return tag("svg", *named, *parts, role="img", aria_labelledby=f"{ident}-title", aria_describedby=f"{ident}-desc", **size)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round figures within an interval, about as many as are wanted."""
    if high <= low:
        return [low]
    magnitude = 10 ** math.floor(math.log10((high - low) / wanted))
    step = min((each * magnitude for each in (1, 2, 5, 10)), key=lambda each: abs((high - low) / each - wanted))
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def marker(kind: int, x: float, y: float, size: float = 4.5) -> Markup:
    """Return the marker of a series: a circle, a square, a triangle, a diamond, a cross or a pointed-down triangle."""
    shape, look = kind % MARKERS, f"mark s{kind % MARKERS}"
    if shape == 0:
        return tag("circle", cx=x, cy=y, r=size, class_=look)
    corners = {
        1: ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        2: ((0, -1.2), (1.2, 1), (-1.2, 1)),
        3: ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
        4: ((-0.4, -1.3), (0.4, -1.3), (0.4, -0.4), (1.3, -0.4), (1.3, 0.4), (0.4, 0.4), (0.4, 1.3), (-0.4, 1.3), (-0.4, 0.4), (-1.3, 0.4),
            (-1.3, -0.4), (-0.4, -0.4)),
        5: ((0, 1.2), (1.2, -1), (-1.2, -1)),
    }[shape]  # fmt: skip
    points = " ".join(f"{round(x + size * right, 1)},{round(y + size * down, 1)}" for right, down in corners)
    return tag("polygon", points=points, class_=look)


def swatch(kind: int) -> Markup:
    """Return the marker of a series for a legend; what it means stands beside it."""
    line = tag("line", x1=0, y1=8, x2=26, y2=8, class_=f"line s{kind % MARKERS}")
    return tag("svg", line, marker(kind, 13, 8), viewBox="0 0 26 16", width=26, height=16, aria_hidden="true", focusable="false")


def curve(
    series: Mapping[str, Mapping[str, Any]],
    singles: Mapping[str, Sequence[tuple[float, float]]] | None,
    baselines: Mapping[str, float],
    metric: str,
    width: int,
    ident: str,
    title: str,
    *,
    ahead: Mapping[str, Sequence[Mapping[str, Any]]],
    first: int = 0,
) -> Markup:
    """Draw learning curves over the number of pairs, whose axis is logarithmic.

    Args:
        series: by name, as `producers.curve.report.fitted` returns them.
        singles: by series, the size and the figure of each model; None: means alone are drawn, without intervals.
        baselines: what needs no training, by name.
        metric: name of the figures.
        width: of the picture.
        ident: of the picture, for its labels.
        title: of the picture.
        ahead: what is foretold, by series; nothing is drawn of one that is not there.
        first: the marker of the first series.
    """
    height = 300 if width >= WIDE else 250
    sizes = sorted({point["size"] for each in series.values() for point in each["points"]})
    sizes += sorted({each["size"] for listed in ahead.values() for each in listed} - set(sizes))
    values = [point["value"] for each in series.values() for point in each["points"]]
    values += list(baselines.values())
    if singles is not None:
        values += [value for each in singles.values() for _, value in each]
        values += [point[end] for each in series.values() for point in each["points"] for end in ("low", "high") if point[end] is not None]
    values += [each[end] for listed in ahead.values() for each in listed for end in ("low", "high")]
    y = _upright(values, height - 46, 22)
    right = width - (10 + max((len(_named(name, value)) for name, value in baselines.items()), default=0) * _LETTER if baselines else 14)
    x = Scale(min(sizes) / 1.12, max(sizes) * 1.12, 40, max(right, width * 0.55), log=True)
    parts = [*_grid(x, y, sizes, metric, height), *_baselines(baselines, x, y)]
    for number, (name, each) in enumerate(series.items(), first):
        parts += _foretold(each, ahead.get(name, ()), number, x, y)
        parts += _measured(each, None if singles is None else singles.get(name, ()), number, x, y)
    return picture(parts, width, height, ident, title, _told(series, ahead, baselines, metric))


def _upright(values: Sequence[float], bottom: float, top: float) -> Scale:
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.02 or 1.0
    return Scale(low - room, high + room, bottom, top)


def _grid(x: Scale, y: Scale, sizes: Sequence[float], metric: str, height: int) -> list[Markup]:
    parts = []
    for value in ticks(y.low, y.high):
        place = y.at(value)
        parts.append(tag("line", x1=x.start, y1=place, x2=x.stop, y2=place, class_="grid"))
        parts.append(tag("text", f"{value:g}", x=x.start - 6, y=place + 4, text_anchor="end"))
    after = math.inf
    for size in reversed(sizes):
        place, label = x.at(size), f"{size:,.0f}"
        parts.append(tag("line", x1=place, y1=y.start, x2=place, y2=y.start + 4, class_="axis"))
        if after - place >= len(label) * _LETTER + 6:
            parts.append(tag("text", label, x=place, y=y.start + 18, text_anchor="middle"))
            after = place
    parts.append(tag("line", x1=x.start, y1=y.start, x2=x.stop, y2=y.start, class_="axis"))
    parts.append(tag("text", metric, x=4, y=13, class_="name"))
    parts.append(tag("text", "pairs, on a logarithmic scale", x=(x.start + x.stop) / 2, y=height - 8, text_anchor="middle", class_="name"))
    return parts


def _named(name: str, value: float) -> str:
    return f"{name} {value:.1f}"


def _baselines(baselines: Mapping[str, float], x: Scale, y: Scale) -> list[Markup]:
    """Draw each baseline as a line with its name behind it; names that would lie on each other are moved apart."""
    parts, above = [], -math.inf
    for name, value in sorted(baselines.items(), key=lambda item: -item[1]):
        place = y.at(value)
        label = max(place + 4, above + _LINE)
        above = label
        parts.append(tag("line", x1=x.start, y1=place, x2=x.stop, y2=place, class_="baseline"))
        parts.append(tag("text", _named(name, value), x=x.stop + 6, y=label, class_="name"))
    return parts


def _measured(series: Mapping[str, Any], singles: Sequence[tuple[float, float]] | None, number: int, x: Scale, y: Scale) -> list[Markup]:
    look = f"s{number % MARKERS}"
    points = [(x.at(point["size"]), y.at(point["value"])) for point in series["points"]]
    parts = [tag("circle", cx=x.at(size), cy=y.at(value), r=2.4, class_=f"single {look}") for size, value in singles or ()]
    for point in series["points"]:
        if singles is not None and point["low"] is not None:
            parts += _whisker(x.at(point["size"]), y.at(point["low"]), y.at(point["high"]), f"whisker {look}", 3)
    if len(points) > 1:
        parts.append(tag("polyline", points=" ".join(f"{right},{down}" for right, down in points), class_=f"line {look}"))
    return parts + [marker(number, right, down) for right, down in points]


def _foretold(series: Mapping[str, Any], ahead: Sequence[Mapping[str, Any]], number: int, x: Scale, y: Scale) -> list[Markup]:
    """Draw what is foretold as a dashed line within its interval, which widens from the last point on."""
    if not ahead:
        return []
    look = f"s{number % MARKERS}" + (" refused" if any(each["refused"] for each in ahead) else "")
    last = series["points"][-1]
    begin = (x.at(last["size"]), y.at(last["value"]))
    upper = [(x.at(each["size"]), y.at(each["high"])) for each in ahead]
    lower = [(x.at(each["size"]), y.at(each["low"])) for each in reversed(ahead)]
    middle = [begin, *((x.at(each["size"]), y.at(each["value"])) for each in ahead)]
    parts = [tag("polygon", points=" ".join(f"{right},{down}" for right, down in [begin, *upper, *lower]), class_=f"band {look}")]
    parts.append(tag("polyline", points=" ".join(f"{right},{down}" for right, down in middle), class_=f"ahead {look}"))
    for each in ahead:
        parts += _whisker(x.at(each["size"]), y.at(each["low"]), y.at(each["high"]), f"whisker {look}", 5)
        parts.append(tag("circle", cx=x.at(each["size"]), cy=y.at(each["value"]), r=4, class_=f"open {look}"))
    return parts


def _whisker(x: float, low: float, high: float, look: str, half: float) -> list[Markup]:
    upright = tag("line", x1=x, y1=low, x2=x, y2=high, class_=look)
    return [upright, *(tag("line", x1=x - half, y1=end, x2=x + half, y2=end, class_=look) for end in (low, high))]


def _told(
    series: Mapping[str, Mapping[str, Any]],
    foretold: Mapping[str, Sequence[Mapping[str, Any]]],
    baselines: Mapping[str, float],
    metric: str,
) -> str:
    parts = []
    for name, each in series.items():
        first, last = each["points"][0], each["points"][-1]
        parts.append(f"{name}: {metric} {first['value']:.1f} at {first['size']:g} pairs, {last['value']:.1f} at {last['size']:g}.")
        parts += [
            f"Foretold at {ahead['size']:g}: {ahead['value']:.1f}, from {ahead['low']:.1f} to {ahead['high']:.1f}."
            for ahead in foretold.get(name, ())
        ]
    parts += [f"Without training, {name}: {value:.1f}." for name, value in baselines.items()]
    return " ".join([*parts, "The same figures stand in the table beside it."])


def intervals(
    figures: Mapping[str, Mapping[str, float]], main: str, metric: str, width: int, ident: str, title: str, scale: int = 1
) -> Markup:
    """Draw a figure of several systems with its 95% interval, one below the other, those that score best first.

    Args:
        figures: by system; `value`, `low`, `high`.
        main: the system that the others are held against.
        metric: its name.
        width: of the picture.
        ident: of the picture, for its labels.
        title: of the picture.
        scale: what figures are multiplied by.
    """
    order = sorted(figures, key=lambda name: -figures[name]["value"])
    beside = width >= WIDE
    row = 28 if beside else 40
    left = min(220.0, max(len(name) for name in order) * _LETTER + 16) if beside else 8.0
    shown = {name: {end: scale * figures[name][end] for end in ("value", "low", "high")} for name in order}
    low, high = min(each["low"] for each in shown.values()), max(each["high"] for each in shown.values())
    room = (high - low) * 0.04 or 1.0
    x = Scale(low - room, high + room, left, width - 60)
    height = len(order) * row + 34
    parts = []
    for value in ticks(x.low, x.high, 6 if beside else 4):
        parts.append(tag("line", x1=x.at(value), y1=4, x2=x.at(value), y2=height - 28, class_="grid"))
        parts.append(tag("text", f"{value:g}", x=x.at(value), y=height - 12, text_anchor="middle"))
    for number, name in enumerate(order):
        top = number * row + 8
        middle = top + (12 if beside else 26)
        look = "s0" if name == main else "other"
        label = {"x": left - 10, "y": middle + 4, "text_anchor": "end"} if beside else {"x": left, "y": top + 12}
        parts.append(tag("text", _short(name, left - 10 if beside else width - 70), class_="main" if name == main else "name", **label))
        each = shown[name]
        parts.append(tag("line", x1=x.at(each["low"]), y1=middle, x2=x.at(each["high"]), y2=middle, class_=f"range {look}"))
        parts.append(tag("circle", cx=x.at(each["value"]), cy=middle, r=5, class_=f"mark {look}"))
        parts.append(
            tag("text", f"{each['value']:.1f}", x=width - 4, y=middle + 4, text_anchor="end", class_="main" if name == main else "name")
        )
    told = " ".join(f"{name}: {each['value']:.1f}, from {each['low']:.1f} to {each['high']:.1f}." for name, each in shown.items())
    return picture(parts, width, height, ident, title, f"{metric} with 95% intervals. {told} The same figures stand in the table below.")


def _short(text: str, room: float) -> str:
    most = max(4, int(room / _LETTER))
    return text if len(text) <= most else text[: most - 1] + "…"
