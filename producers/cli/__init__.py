"""The command line: `tweetmill`.

One file a group of verbs; each has `register(app)`. They import what a verb needs inside that verb, so that `--help` is quick.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from producers.render import exit_codes, streams
from workers.redaction import show_traceback
from workers.showable import showable

# In the order of the help page.
VERB_GROUPS = (
    "stack",
    "demo",
    "fetch",
    "tweets.ingest",
    "tweets.forgetting",
    "tweets.pruning",
    "dataset.exchange",
    "dataset.verbs",
    "dataset.why",
    "review",
    "noise",
    "training",
    "models",
    "doctor",
    "evaluation",
    "comparison",
    "curve",
    "report",
    "export",
    "serving.service",
    "serving.drift",
    "serving.summaries",
    "serving.stream",
    "serving.endpoint",
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
    exit_codes.debug = debug
    if debug:
        sys.excepthook = show_traceback


class _Verbs(TyperGroup):
    """All verbs, with complaints about arguments that a terminal shows and does not obey."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the arguments before the verb."""
        with _showable_complaints():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Read those behind the verb, and run it."""
        with _showable_complaints():
            return super().invoke(ctx)


@contextmanager
def _showable_complaints() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        streams.reader_left(sys.stdout)
        raise typer.Exit from None
    except Exception as error:
        # A complaint about usage quotes arguments in several of its fields.
        for name, value in vars(error).items() if hasattr(error, "format_message") else ():
            if isinstance(value, str):
                setattr(error, name, showable(value))
        raise


def build() -> typer.Typer:
    """The application with every group of verbs."""
    built = typer.Typer(
        name="tweetmill",
        cls=_Verbs,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=_options,
        epilog="First time? [bold]tweetmill demo[/bold] goes the whole way in 14 to 25 minutes.",
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
    exit_codes.debug = False
    streams.prepare_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    return exit_codes.exit_code_of(lambda: app(args=_of_text(given), prog_name="tweetmill"))


def _of_text(arguments: list[str]) -> list[str]:
    """The arguments, none of which holds bytes that are no text: neither Postgres nor JSON could keep them."""
    for argument in arguments:
        if not exit_codes.is_text(argument):
            raise exit_codes.UsageError(
                f"{argument}: this is not valid in the encoding of this system. If it names a file, rename the file"
            )
    return arguments
