"""The verb report: one page about a project."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Any

import typer

from producers.cli.curve import MinutesAPair, UsdPerHour, WorthText
from producers.render.output import MODELS, AsJson, emit, example, say

FILE_NAME = "report.html"
"""In the home, where no file is named."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        rich_help_panel=MODELS,
        epilog=example(
            "tweetmill report --open",
            "tweetmill report -o report.html --worth 0.5/hour --minutes-a-pair 3",
            "tweetmill report --json | jq .answer.sentence",
        ),
    )(report)


def report(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", help="Where to write it; default: report.html in the home.", show_default=False
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in a browser, where there is a display.")] = False,
    worth: WorthText = None,
    minutes_a_pair: MinutesAPair = None,
    usd_per_hour: UsdPerHour = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page that answers whether more training data is worth it, with what was measured and what to do next.

    The page holds tweets: it is readable for its owner alone. It needs no network and no script. A project without anything measured gets a
    page that says what comes first. With --json the figures are printed, and a page is written only where -o or --open asks for one.
    """
    from producers.cli.curve import _counts
    from producers.cli.evaluation import meaning, verdict
    from producers.report.gather import Reader, gather
    from producers.report.page import page
    from workers import destinations
    from workers.file_permissions import make_private
    from workers.settings import get_settings

    if output is not None:
        destinations.check(output)
    found = gather(_counts(worth), minutes_a_pair, usd_per_hour, Reader(verdict, meaning))
    if output is not None or open_it or not as_json:
        file = output if output is not None else make_private(get_settings().home) / FILE_NAME
        _write(file, page(found))
        say(f"{found['answer']['sentence']}")
        say(f"The report is in {file}. It holds tweets: only its owner may read it.")
        if open_it:
            _open(file)
    if as_json:
        emit(found, as_json, str)


def _write(file: Path, html: str) -> None:
    """Write the page for its owner alone: the mode is set before the first tweet is written. A device keeps the rights that it has."""
    from workers import destinations
    from workers.file_permissions import FILE

    with destinations.open_text(file) as out:
        if stat.S_ISREG(os.fstat(out.fileno()).st_mode):
            os.fchmod(out.fileno(), FILE)
        out.write(html)


def _open(file: Path) -> None:
    """Show a file in a browser. One that would run in this terminal is left alone: it would take it over."""
    import webbrowser

    try:
        browser: Any = webbrowser.get()
    except webbrowser.Error:
        browser = None
    in_terminal = type(browser) is webbrowser.GenericBrowser
    if browser is None or in_terminal or not browser.open(file.resolve().as_uri()):
        say("There is no browser with a display here: open the file on a machine that has one.", "yellow")
