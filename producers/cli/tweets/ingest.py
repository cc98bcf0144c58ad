"""The verbs that bring tweets in, and show what could not be used: ingest, rejected."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import DATA, AsJson, console, emit, example, line, say, styled
from producers.submitting import Encoding

if TYPE_CHECKING:
    from rich.console import RenderableType

    from producers.sources.names import Names
    from workers.ingest.counts import Counts
    from workers.ingest.source import Source


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(
        rich_help_panel=DATA, epilog=example("tweetmill ingest tweets.jsonl", "zcat archive/*.gz | tweetmill ingest - --source archive")
    )(ingest)
    app.command(rich_help_panel=DATA, epilog=example("tweetmill rejected --origin tweets.jsonl", "tweetmill rejected --json | jq length"))(
        rejected
    )


def ingest(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON, dumps, API pages, CSV or Parquet, also packed; - is standard input.")],
    source: Annotated[str | None, typer.Option(help="The name that the tweets get; default: the file's.", show_default=False)] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="text=KEY,id=KEY",
            help="Which keys or columns hold the fields; user.name is a key in an object.",
        ),
    ] = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Store tweets. Known ids are left as they are; lines that can't be used are kept with their reason.

    An interrupted ingest goes on where it stood when the same command is given again.
    """
    from producers.sources.names import FIELDS, Names
    from producers.submitting import parse_map, say_rejected

    names = Names(parse_map(columns, FIELDS, "text=KEY,id=KEY,…, or some of them"))
    answer, counts = store(file, source, names, encoding)
    emit(answer, as_json, ingest_line)
    say_rejected(file, counts)
    check_gained(file, counts)
    for field, path in names.not_found().items():
        say(f"No row has {line(path)}, which --map names for {field}; the first row's keys are {line(names.seen or 'none')}.")


def store(file: str, source: str | None, names: Names | None = None, encoding: str | None = None) -> tuple[dict[str, Any], Counts]:
    """Store the tweets of a file or of standard input; return what `ingest --json` prints, and the counts.

    Raises:
        UserError: the file can't be read as tweets; what came before the trouble is stored.
        BadParameter: there is no such file, or the name is not usable.
    """
    from producers.sources import SourceError
    from producers.sources.files import name_of
    from producers.sources.registry import open_source
    from schemas.bounds import usable_source
    from workers.errors import UserError
    from workers.ingest.tweets import ingest_source

    source = source or name_of(file)
    try:
        usable_source(source)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--source") from None
    try:
        opened = open_source(file, source, names, encoding)
    except SourceError as error:
        raise typer.BadParameter(str(error), param_hint="FILE") from None
    done = opened.cursor.position() if opened.cursor else 0
    if done:
        say(f"An ingest of this file was interrupted: going on after line {done}.")
    with _progress(opened) as on_progress:
        try:
            counts = ingest_source(opened, done, on_progress)
        except SourceError as error:
            raise UserError(f"{file}: {error}") from None
        except KeyboardInterrupt:
            say("Interrupted: what was read is stored." + (" The same command goes on from there." if opened.cursor else ""))
            raise
    answer = {name: getattr(counts, name) for name in ("read", "inserted", "duplicates", "collisions", "rejected")}
    named = {"notices": dict(counts.notices), "unusable": dict(counts.unusable)}
    more = {"forgotten": counts.forgotten, "same_text": counts.same_text, "resumed_after_line": done}
    return {"source": source, **answer, **named, **more}, counts


def check_gained(file: str, counts: Counts) -> None:
    """Check that a file held a usable tweet.

    Raises:
        UserError: it held none that can be used; says why.
    """
    from workers.errors import UserError

    if counts.usable:
        return
    if not counts.read:
        raise UserError(f"{file}: it is empty: there is no tweet in it")
    problems = [f"none of {counts.read:,} rows can be used"]
    problems += [f"{counts.collisions:,} with a known id and another text"] if counts.collisions else []
    problems += [f"{counts.forgotten:,} forgotten: `tweetmill forget ID --allow-again` lets one in"] if counts.forgotten else []
    problems += [f"{number:,} no tweets ({name})" for name, number in counts.notices.most_common(3)]
    raise UserError(f"{file}: {', '.join(problems)}" + (f". {counts.reasons.commonest()}" if counts.rejected else ""))


@contextmanager
def _progress(source: Source) -> Iterator[Callable[[Counts], None]]:
    """Yield what shows a bar by bytes for a file, or a count for a stream; nothing where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(counts: Counts) -> None:
            read, size = source.progress() or (None, None)
            bar.update(task, completed=read, total=size, description=f"{counts.read:,} tweets")

        yield show


def ingest_line(answer: dict[str, Any]) -> RenderableType:
    """Return what became of the rows, which adds up to those that were read, and then the remarks about the stored ones."""
    parts = [f"{answer['inserted']:,} new tweets", f"{answer['duplicates']:,} known already"]
    parts += [f"{answer['collisions']:,} with a known id and another text"] if answer["collisions"] else []
    parts += [f"{answer['forgotten']:,} forgotten ones left out"] if answer["forgotten"] else []
    parts += [f"{answer['rejected']:,} rejected"]
    parts += [f"{number:,} no tweets ({name})" for name, number in answer["notices"].items()]
    text = f"{answer['source']}: {', '.join(parts)}."
    if answer["same_text"]:
        text += f" {answer['same_text']:,} of the new ones say what a tweet of another id says."
    if answer["unusable"]:
        fields = ", ".join(f"{name} {number:,}" for name, number in answer["unusable"].items())
        text += f" Fields that could not be used and are left out: {fields}."
    return styled(text)


def rejected(
    origin: Annotated[str | None, typer.Option(help="Only of this file or dataset; its name or a path to it.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Show at most N, the newest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show rows that could not be used: file or dataset, line or id, field and reason. Never their text."""
    from workers.database import transaction
    from workers.ingest import rejected_rows

    with transaction() as connection:
        found = rejected_rows.find_rejected(connection, origin, limit)
    emit(found.rows, as_json, _rejected_table)
    if found.total > len(found.rows):
        say(f"{found.total - len(found.rows):,} more: --limit {min(found.total, 100_000)} shows them.")
    elif not found.rows and not as_json:
        say("Nothing was rejected" + (f" of {line(origin)}." if origin else "."))


def _rejected_table(found: list[dict[str, Any]]) -> RenderableType:
    from producers.render.listing import Column, Listing

    columns = (
        Column("origin", 1, least=16, tail=True),
        Column("row", least=20, tail=True),
        Column("field"),
        Column("reason", least=30, in_full=True),
    )
    return Listing(columns, [[str(row[column.name] or "") for column in columns] for row in found])
