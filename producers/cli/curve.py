"""The verbs of learning curves: fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import MODELS, AsJson, emit, example, say
from workers.errors import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from workers.curves.points import Point
    from workers.ingest.curated_files import BadLine

_REJECTED_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    curve = typer.Typer(
        no_args_is_help=True,
        help="How quality grows with the number of pairs, and whether more are worth it.",
        epilog=example("tweetmill curve fit points.csv", "tweetmill curve fit losses.csv --lower-is-better --at 800,1600 --json"),
    )
    curve.command(
        epilog=example(
            "tweetmill curve fit points.csv",
            "tweetmill curve fit losses.csv --lower-is-better --at 800,1600",
            "tweetmill curve fit points.csv --worth 0.5 --json | jq .verdict",
        )
    )(fit)
    app.add_typer(curve, name="curve", rich_help_panel=MODELS)


def fit(
    file: Annotated[
        Path, typer.Argument(metavar="FILE|-", help="Rows of size,value or size,value,se; repeated sizes are seeds.", show_default=False)
    ],
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="The value is a loss or an error rate.")] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="SIZE,SIZE…", help="Sizes to foretell; default: twice and four times the largest.", show_default=False),
    ] = None,
    worth: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="The smallest gain of twice the pairs that counts; default: 1% of the largest size's value.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a learning curve to points of yours: what more pairs would bring, with 95% intervals, and whether that is worth it.

    Needs no server. Exit code 1 when no row could be used.
    """
    from workers.curves.extrapolation import extrapolate, next_sizes
    from workers.curves.points import grouped
    from workers.curves.verdict import decide

    points, rejected = _read(file)
    curve = grouped(points)
    places = _sizes(at) if at is not None else next_sizes(curve)
    foretold = extrapolate(curve, places, lower_is_better=lower_is_better, worth=worth)
    verdict = decide(curve, lower_is_better=lower_is_better, worth=worth)
    answer = {
        "verdict": verdict.answer,
        "reason": verdict.reason,
        "label": verdict.label,
        "family": foretold.family,
        "weights": foretold.weights,
        "worth": verdict.worth,
        "gain": _plain(verdict.gain),
        "predictions": [_plain(each) for each in foretold.predictions],
        "points": [
            {"size": size, "value": value, "n": seeds}
            for size, value, seeds in zip(curve.sizes.tolist(), curve.means.tolist(), curve.seeds.tolist(), strict=True)
        ],
        "rejected": [{"place": bad.place, "field": bad.field, "reason": bad.reason} for bad in rejected],
    }
    for bad in rejected[:_REJECTED_SHOWN]:
        say(f"{file}: {bad.place}: {bad.reason}", "yellow")
    if len(rejected) > _REJECTED_SHOWN:
        say(f"{file}: {len(rejected) - _REJECTED_SHOWN} more rows could not be used; --json lists them", "yellow")
    emit(answer, as_json, _page)


def _read(file: Path) -> tuple[list[Point], list[BadLine]]:
    from producers.sources.points import read
    from workers.curves.points import Point
    from workers.ingest.readers.errors import SourceError

    points: list[Point] = []
    rejected: list[BadLine] = []
    try:
        for each in read(file):
            if isinstance(each, Point):
                points.append(each)
            else:
                rejected.append(each)
    except SourceError as error:
        raise UserError(f"{file}: {error}") from None
    if not points:
        first = f": {rejected[0].place}: {rejected[0].reason}" if rejected else ""
        raise UserError(f"{file}: no row could be used{first}")
    return points, rejected


def _sizes(text: str) -> list[float]:
    try:
        sizes = [float(each) for each in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or not all(0 < each < float("inf") for each in sizes):
        raise typer.BadParameter("give sizes above 0, separated by commas: --at 800,1600", param_hint="--at")
    return sizes


def _plain(prediction: Any) -> dict[str, Any]:
    return {name: getattr(prediction, name) for name in ("size", "value", "low", "high", "refused")}


def _page(answer: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("pairs", "value", "95% interval", "n"):
        table.add_column(heading, justify="right")
    for point in answer["points"]:
        table.add_row(f"{point['size']:g}", f"{point['value']:.4g}", "", str(point["n"]))
    for each in answer["predictions"]:
        table.add_row(f"{each['size']:g}", f"{each['value']:.4g}", f"{each['low']:.4g} to {each['high']:.4g}", "foretold")
    return Group(table, "", *_words(answer))


def _words(answer: dict[str, Any]) -> Sequence[str]:
    gain = answer["gain"]
    bring = f"Twice the pairs would bring {gain['value']:+.3g} ({gain['low']:+.3g} to {gain['high']:+.3g}); {answer['worth']:.3g} counts."
    said = {"continue": "Continue: more pairs are worth it.", "stop": "Stop: more pairs are not worth it."}
    lines = [said.get(answer["verdict"], f"Unsure: {answer['reason']}."), bring]
    if answer["verdict"] == "unsure":
        more = answer["label"]
        lines.append(f"Label {more} more to know." if more else "More pairs alone would hardly tell: use more seeds or test rows.")
    lines += [f"{each['size']:g} pairs: not to be relied on, {each['refused']}." for each in answer["predictions"] if each["refused"]]
    return lines
