"""`tweetmill demo`: the whole way, and a report of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render import output

if TYPE_CHECKING:
    from rich.console import RenderableType


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        "demo",
        rich_help_panel=output.STACK,
        epilog=output.example("tweetmill demo --report demo-report.json"),
    )(demo)


def demo(
    report: Annotated[Path, typer.Option("--report", help="Where the figures go, as JSON.")] = Path("demo-report.json"),
    picture: Annotated[Path | None, typer.Option("--picture", help="Where the metrics table goes, as SVG.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Go the whole way on this machine: real tweets in, a fine-tuned model, summaries in Postgres.

    It takes 14 to 25 minutes on two cores, and says how long before the long part begins.
    """
    from producers.demo import story
    from workers import destinations
    from workers.settings import get_settings

    for file in filter(None, (report, picture)):
        destinations.check(file)
    if picture is not None and os.path.realpath(report) == os.path.realpath(picture):
        raise typer.BadParameter("--report and --picture are two files: name another one")
    folder = Path(__file__).resolve().parents[2] / "recipes"
    done = story.run(get_settings(), folder)
    done.figures["sample"] = story.sample(done.figures["summaries"]["job"], done.figures["model"])
    done.write(report)
    if picture is not None:
        _draw(done.figures["evaluation"], picture)
    output.emit({**done.figures, "seconds": done.seconds, "reused": done.reused}, as_json, _render)
    output.say(f"Report: {report}. The stack is still up: `tweetmill status` looks at it, `tweetmill down` stops it.")


def _draw(evaluation: dict[str, Any], picture: Path) -> None:
    """Save the metrics tables as a terminal shows them."""
    import io
    import re

    from producers.cli.evaluation import result_tables
    from producers.render.screen import Screen
    from workers import destinations

    console = Screen(record=True, file=io.StringIO(), width=100)
    console.print(result_tables(evaluation))
    drawn = console.export_svg(title="tweetmill demo")
    # Rich refers to a web font; a picture should need nothing but itself.
    destinations.write_destination(picture, re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL))


def _render(figures: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    from producers.cli.evaluation import result_tables

    before_after = Table(title="Before and after", show_lines=True, expand=True)
    before_after.add_column("tweet", ratio=3)
    before_after.add_column("summary", ratio=2)
    for row in figures["sample"]:
        before_after.add_row(row["tweet"], output.styled(row["summary"], "bold"))
    summaries = figures["summaries"]
    counts = output.styled(
        f"{summaries['rows']} summaries by {summaries['workers']} workers; the guard tried {summaries['retried']} again "
        f"and replaced {summaries['fallbacks']} by the tweet's opening"
    )
    seconds = output.styled("seconds: " + ", ".join(f"{phase} {value:g}" for phase, value in figures["seconds"].items()))
    flower = output.styled(f"Flower: {figures['flower']}" if figures.get("flower") else "")
    return Group(before_after, result_tables(figures["evaluation"]), counts, seconds, flower)
