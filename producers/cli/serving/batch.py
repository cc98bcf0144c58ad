"""The verbs of summaries that an engine elsewhere writes in batches: export tweets, import summaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import AsJson, console, emit, example, line, styled
from producers.submitting import Encoding
from schemas.numbers import LARGEST_BIGINT

if TYPE_CHECKING:
    from rich.console import RenderableType

    from workers.ingest.summaries import ImportedSummaries

EXPORT_EXAMPLES = (
    "tweetmill export tweets --model demo -o tweets.parquet",
    "tweetmill export tweets --source archive --limit 1000 -o some.parquet",
)
IMPORT_EXAMPLES = example(
    "tweetmill import summaries answers.parquet --model demo",
    "tweetmill import summaries out.parquet --model demo --map summary=generated_text,tokens_out=num_generated_tokens",
)


def export_tweets(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The Parquet file to write.")],
    source: Annotated[str | None, typer.Option(help="Only tweets of this source.", show_default=False)] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Leave out what this model has summarised; its name, its id, or latest.", show_default=False),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, max=LARGEST_BIGINT, help="At most N.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Write tweets with the chat that each is asked with, for Ray Data, vLLM or another engine that works through a Parquet file.

    Columns: tweet, text, messages, max_tokens, prompt_version. What comes back goes in by `tweetmill import summaries`.
    """
    from workers import database, destinations
    from workers.catalog import models, prompt_export, tweets
    from workers.errors import NotFound

    destinations.check(output)
    with database.session() as session:
        if source is not None and not tweets.is_source(session, source):
            raise NotFound(f"{source}: no ingested source. Sources: {', '.join(tweets.sources(session)) or 'none yet'}")
        chosen = models.resolve(session, model) if model is not None else None
        written = prompt_export.write_prompts(session, output, source=source, model=chosen, limit=limit)
    emit({"file": str(output), "rows": written.rows, "known": written.known, "wordless": written.wordless}, as_json, _exported_line)


def _exported_line(answer: dict[str, Any]) -> RenderableType:
    left = [f"{answer['known']:,} have their summary"] if answer["known"] else []
    left += [f"{answer['wordless']:,} have no word to summarise"] if answer["wordless"] else []
    return styled(f"{answer['rows']:,} tweets in {line(answer['file'])}." + (f" Left out: {', '.join(left)}." if left else ""))


def import_summaries(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet, JSON, or a CSV with a header.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The model that wrote them: its name, its id, or latest.")],
    columns: Annotated[
        str | None,
        typer.Option(
            "--map", metavar="summary=COLUMN,…", help="Columns of another name: tweet, summary, prompt_version, tokens_in, tokens_out."
        ),
    ] = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Store summaries that an engine elsewhere wrote for exported tweets, with the flags of the guard's checks.

    Known ones are counted and stay; rows that can't be used are kept with their reason. It takes a worker's login: a producer's may
    not write summaries.
    """
    from producers.submitting import parse_map, say_rejected
    from workers import database
    from workers.catalog import models
    from workers.errors import UserError
    from workers.ingest import summaries

    mapped = parse_map(columns, summaries.FIELDS, "tweet=COLUMN,summary=COLUMN,…, or some of them")
    if not file.is_file():
        raise typer.BadParameter(f"{file}: there is no such file", param_hint="FILE")
    with database.session() as session:
        chosen = models.resolve(session, model)
    with _progress() as on_progress:
        done = summaries.import_summaries(file, chosen, mapped, encoding, on_progress)
    counts = {name: getattr(done.counts, name) for name in ("read", "inserted", "duplicates", "collisions", "rejected")}
    emit({"model": chosen.name, **counts, "flags": dict(sorted(done.flags.items()))}, as_json, _imported_line)
    say_rejected(str(file), done.counts)
    if not done.counts.usable:
        reason = done.counts.reasons.commonest() if done.counts.rejected else ""
        raise UserError(f"{file}: none of {done.counts.read:,} rows can be used" + (f". {reason}" if reason else ""))


@contextmanager
def _progress() -> Iterator[Callable[[ImportedSummaries], None]]:
    """Yield what shows how many rows are read; nothing where standard error is no terminal."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with console().status("reading") as status:
        yield lambda done: status.update(f"{done.counts.read:,} rows")


def _imported_line(answer: dict[str, Any]) -> RenderableType:
    parts = [f"{answer['inserted']:,} new summaries", f"{answer['duplicates']:,} known already"]
    parts += [f"{answer['collisions']:,} of tweets that have another"] if answer["collisions"] else []
    text = f"{answer['model']}: {', '.join(parts)}, {answer['rejected']:,} rejected."
    flags = ", ".join(f"{name} {number:,}" for name, number in answer["flags"].items())
    return styled(text + (f" Flags: {flags}." if flags else ""))
