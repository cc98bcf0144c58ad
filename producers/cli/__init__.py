"""The command line: `tweetmill`.

One file a group of verbs; each has `register(app)`. They import what a verb needs inside that verb, so that `--help` is quick.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from producers.cli import output
from workers.redaction import show_traceback

# In the order of the help page.
VERB_GROUPS = (
    "stack",
    "demo",
    "fetch",
    "ingest",
    "exchange",
    "datasets",
    "lineage",
    "review",
    "noise",
    "training",
    "evaluation",
    "summaries",
    "jobs",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tweetmill {version('tweetmill')}")
        raise typer.Exit


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Turn a stream of messy tweets into short clean summaries, with a language model that you fine-tuned yourself."""
    del version
    output.debug = debug
    if debug:
        sys.excepthook = show_traceback


def build() -> typer.Typer:
    """The application with every group of verbs."""
    built = typer.Typer(
        name="tweetmill",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=_options,
        epilog="First time? [bold]tweetmill demo[/bold] goes the whole way in about 15 minutes.",
    )
    for group in VERB_GROUPS:
        importlib.import_module(f"producers.cli.{group}").register(built)
    return built


app = build()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 failed, 2 bad usage, 130 interrupted.

    Args:
        arguments: without the program's name; default: the process's own.
    """
    output.debug = False
    return output.exit_code_of(lambda: app(args=None if arguments is None else list(arguments), prog_name="tweetmill"))
