"""The verbs of summaries: summarize, summaries."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from producers.render import streams
from producers.render.output import SUMMARIES, AsJson, console, emit, example, json_text, line, say
from schemas.numbers import LARGEST_BIGINT
from workers.showable import showable


class Format(StrEnum):
    """The format of the rows."""

    JSONL = "jsonl"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(
        rich_help_panel=SUMMARIES,
        epilog=example(
            "tweetmill summarize tweets.jsonl --model latest --wait",
            "tweetmill summarize --model demo --limit 1000 --exclude-dataset demo",
            "tweetmill summarize news --model in-service",
        ),
    )(summarize)
    app.command(
        rich_help_panel=SUMMARIES,
        epilog=example(
            "tweetmill summaries --job latest --format csv --output summaries.csv", "tweetmill summaries --model demo | head -3"
        ),
    )(summaries)


def summarize(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="A file of tweets, or the name of an ingested source; default: all tweets.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Its name, its id, latest, or in-service: the promoted one, also the default.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, max=LARGEST_BIGINT, help="At most N tweets, drawn by --seed.")
    ] = None,
    exclude_dataset: Annotated[
        str | None, typer.Option(metavar="DATASET", help="Leave out tweets that this dataset learnt from or tests on.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, max=10_000, help="Tweets a worker takes at a time.")] = 256,
    guard: Annotated[bool, typer.Option("--guard/--no-guard", help="Check each summary against its tweet.")] = True,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_BIGINT, help="Which tweets --limit draws.")] = 0,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch the job until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Summarise ingested tweets, in shards that the workers share. What is summarised already is not done again."""
    from producers.submitting import asked, ended, job_line
    from schemas.payloads import SummarizationSpec
    from tasks import summarization
    from workers import database
    from workers.catalog import models
    from workers.errors import NotFound

    with database.session() as session:
        try:
            model_id = models.resolve(session, model or models.IN_SERVICE).id
        except NotFound as error:
            if model is not None:
                raise
            raise typer.BadParameter(f"no model is named: {error}", param_hint="--model") from None
    name = _source_name(source)
    _check_known(name, exclude_dataset)
    spec = SummarizationSpec(
        model_id=model_id, source=name, limit=limit, exclude_dataset=exclude_dataset, shard_size=shard_size, guard=guard, seed=seed
    )
    submitted = summarization.enqueue(spec)
    if not wait:
        emit(asked(submitted), as_json, job_line)
        return
    job = ended(submitted)
    counts = {"tweets": job.progress.get("total", 0), "shards": job.progress.get("shards", 0)}
    answer = {"job": str(job.id), **counts, "seconds": job.run_seconds}
    emit(answer, as_json, _summarized_line)


def _summarized_line(answer: dict[str, Any]) -> str:
    if not answer["tweets"]:
        return "No tweet to summarise: `tweetmill ingest` brings some in."
    return f"{answer['tweets']:,} tweets have their summaries. `tweetmill summaries --job {answer['job'][:8]}` prints them."


def _source_name(source: str | None) -> str | None:
    """The name of the source; a file is ingested first."""
    if source is None or (source != "-" and not Path(source).is_file()):
        return source
    from producers.cli.tweets.ingest import check_gained, ingest_line, store
    from producers.submitting import say_rejected

    answer, counts = store(source, None)
    console().print(ingest_line(answer))
    say_rejected(source, counts)
    check_gained(source, counts)
    return str(answer["source"])


def _check_known(source: str | None, dataset: str | None) -> None:
    from workers import database
    from workers.catalog import datasets, tweets
    from workers.errors import NotFound

    with database.session() as session:
        if source is not None and not tweets.is_source(session, source):
            there = ", ".join(tweets.sources(session)) or "none yet: `tweetmill ingest` brings tweets in"
            raise NotFound(f"{source}: neither a file nor an ingested source. Sources: {there}")
        if dataset is not None:
            datasets.resolve(session, dataset)


def summaries(
    job: Annotated[str | None, typer.Option(help="Only this job's tweets: its id, the beginning of it, or latest.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only this model's: its name, its id, or latest.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, max=LARGEST_BIGINT, help="At most N.")] = None,
    form: Annotated[Format, typer.Option("--format", "-f", help="One JSON object a line, or CSV with a header.")] = Format.JSONL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of to standard output, which is -.")
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="CSV for a program: without the apostrophes and escapes that make cells safe to open and to look at."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print summaries with their tweets, flags, model and worker, as they stand now. With --json one array."""
    from workers import database, destinations
    from workers.catalog import models
    from workers.catalog.summaries import stream
    from workers.jobs import ledger

    if as_json and form is Format.CSV:
        raise typer.BadParameter("--json and --format csv are two answers: choose one")
    if raw and form is not Format.CSV:
        raise typer.BadParameter("JSON is exact as it is: --raw goes with --format csv")
    if output is not None and str(output) != streams.STANDARD:
        destinations.check(output)
    with database.session() as session:
        job_id = ledger.resolve(session.connection(), job) if job is not None else None
        model_id = models.resolve(session, model).id if model is not None else None
        with streams.destination(output) as out:
            rows = stream(session, job=job_id, model=model_id, limit=limit)
            count = _write_array(rows, out) if as_json else _write(rows, out, form, raw)
    to_a_file = output is not None and str(output) != streams.STANDARD
    if to_a_file or not count:
        say(f"{count:,} summaries" + (f" in {line(str(output))}." if to_a_file else ". `tweetmill summarize` makes some."))


def _write(rows: Iterable[dict[str, Any]], out: TextIO, form: Format, raw: bool) -> int:
    count = 0
    if form is Format.JSONL:
        for count, row in enumerate(rows, 1):  # noqa: B007
            out.write(json_text(row) + "\n")
        return count
    from workers.catalog.summaries import EXPORT_COLUMNS

    table = csv.DictWriter(out, EXPORT_COLUMNS, lineterminator="\n")
    table.writeheader()
    for count, row in enumerate(rows, 1):  # noqa: B007
        cells = {**row, "flags": " ".join(row["flags"])}
        table.writerow(cells if raw else _for_people(cells))
    return count


def _for_people(cells: dict[str, Any]) -> dict[str, Any]:
    from workers.text.spreadsheets import harmless, harmless_id

    shown = {name: harmless(showable(cell)) if isinstance(cell, str) else cell for name, cell in cells.items()}
    return {**shown, "tweet": harmless_id(showable(str(cells["tweet"])))}


def _write_array(rows: Iterable[dict[str, Any]], out: TextIO) -> int:
    count = 0
    for count, row in enumerate(rows, 1):
        out.write(("[\n" if count == 1 else ",\n") + json_text(row))
    out.write("\n]\n" if count else "[]\n")
    return count
