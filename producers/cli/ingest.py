"""The verbs that bring tweets in, and show what could not be used: ingest, rejected."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from producers.cli.output import DATA, AsJson, console, emit, example, say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from workers.intake import Counts

STDIN = "-"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(
        rich_help_panel=DATA, epilog=example("tweetmill ingest tweets.jsonl", "zcat archive/*.gz | tweetmill ingest - --source archive")
    )(ingest)
    app.command(rich_help_panel=DATA, epilog=example("tweetmill rejected --origin tweets.jsonl", "tweetmill rejected --json | jq length"))(
        rejected
    )


def ingest(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON Lines, X API pages or CSV, also as .gz; - is standard input.")],
    source: Annotated[str | None, typer.Option(help="The name that the tweets get; default: the file's.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Store tweets. Known ids are left as they are; lines that can't be used are kept with their reason.

    An interrupted ingest goes on where it stood when the same command is given again.
    """
    from producers.cli.asking import say_rejected

    answer, counts = bring_in(file, source)
    emit(answer, as_json, _ingest_line)
    say_rejected(file, counts)


def bring_in(file: str, source: str | None) -> tuple[dict[str, Any], Counts]:
    """Store the tweets of a file or of standard input; the answer is what `ingest --json` prints.

    Raises:
        UserError: the file can't be read as tweets; what came before the trouble is stored.
        BadParameter: there is no such file, or the name is not usable.
    """
    from producers.sources import SourceError, read
    from producers.sources.reading import name_of
    from workers import intake
    from workers.errors import UserError

    source = source or name_of(file)
    if not source.strip() or len(source) > 200 or "\x00" in source:
        raise typer.BadParameter("a source's name has 1 to 200 characters", param_hint="--source")
    bookmark = intake.Bookmark.of(Path(file)) if file != STDIN and Path(file).is_file() else None
    done = bookmark.position() if bookmark else 0
    if done:
        say(f"An ingest of this file was interrupted: going on after line {done}.")
    with _progress(file) as (on_open, on_progress):
        try:
            lines = read(file, source, done, on_open)
        except SourceError as error:
            raise typer.BadParameter(str(error), param_hint="FILE") from None
        try:
            counts = intake.copy_tweets(lines, origin=file, on_progress=on_progress, bookmark=bookmark)
        except SourceError as error:
            raise UserError(f"{file}: {error}") from None
        except KeyboardInterrupt:
            say("Interrupted: what was read is stored." + (" The same command goes on from there." if bookmark else ""))
            raise
    answer = {"source": source, "read": counts.read, "inserted": counts.inserted, "duplicates": counts.duplicates}
    return {**answer, "rejected": counts.rejected, "resumed_after_line": done}, counts


_Hooks = tuple[Callable[[BinaryIO], None], Callable[["Counts"], None]]


@contextmanager
def _progress(file: str) -> Iterator[_Hooks]:
    """A bar by bytes for a file, a count for a stream; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield lambda _: None, lambda _: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    size = Path(file).stat().st_size if file != STDIN and Path(file).is_file() else 0
    opened: list[BinaryIO] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("reading", total=size or None)

        def show(counts: Counts) -> None:
            at = opened[0].tell() if size and opened and not opened[0].closed else size
            bar.update(task, completed=at, description=f"{counts.read:,} tweets")

        yield opened.append, show


def _ingest_line(answer: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    return Text(
        f"{answer['source']}: {answer['inserted']:,} new tweets, {answer['duplicates']:,} known already, {answer['rejected']:,} rejected."
    )


def rejected(
    origin: Annotated[str | None, typer.Option(help="Only of this file or dataset; the end of a path will do.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Show at most so many, the newest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show rows that could not be used: file or dataset, line or id, field and reason. Never their text."""
    from sqlalchemy import text

    from workers.store import transaction

    where = "WHERE cast(:origin AS text) IS NULL OR right('/' || origin, length(cast(:origin AS text)) + 1) = '/' || :origin"
    with transaction() as connection:
        total = connection.execute(text(f"SELECT count(*) FROM rejected_row {where}"), {"origin": origin}).scalar_one()  # noqa: S608
        rows = connection.execute(
            text(
                "SELECT origin, row_key AS row, field, reason, rejected_at FROM (SELECT * FROM rejected_row "  # noqa: S608
                f"{where} ORDER BY id DESC LIMIT :limit) AS newest ORDER BY id"
            ),
            {"origin": origin, "limit": limit},
        )
        found = [dict(row._mapping) for row in rows]
    emit(found, as_json, _rejected_table)
    if total > len(found):
        say(f"{total - len(found):,} more: --limit {min(total, 100_000)} shows them.")
    elif not found and not as_json:
        say("Nothing was rejected" + (f" of {origin}." if origin else "."))


def _rejected_table(found: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("origin", "row", "field", "reason"):
        table.add_column(column)
    for row in found:
        table.add_row(*(Text(str(row[column] or "")) for column in ("origin", "row", "field", "reason")))
    return table
