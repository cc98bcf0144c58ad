"""The verbs of models in service: promote, rollback, promotions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import SUMMARIES, AsJson, emit, example, say, styled, titled_table
from schemas.numbers import LARGEST_BIGINT

if TYPE_CHECKING:
    from rich.console import RenderableType

Stream = Annotated[
    str | None, typer.Option("--for", metavar="STREAM", help="Only for this stream; default: all that have no model of their own.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(
        rich_help_panel=SUMMARIES,
        epilog=example("tweetmill promote demo", "tweetmill promote better --for news --share 10", "tweetmill promote better --for news"),
    )(promote)
    app.command(rich_help_panel=SUMMARIES, epilog=example("tweetmill rollback", "tweetmill rollback --for news"))(rollback)
    app.command(rich_help_panel=SUMMARIES, epilog=example("tweetmill promotions", "tweetmill promotions --for news --json"))(promotions)


def promote(
    reference: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, its id, or latest.")],
    stream: Stream = None,
    share: Annotated[
        int | None, typer.Option(min=1, max=50, metavar="PERCENT", help="As a canary: so many of 100 shards, compared with the others.")
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Promote the canary in full by itself once its figures allow it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a model in service: streams take it at their next shard, without a restart."""
    from workers import database
    from workers.catalog import models, service

    if auto and share is None:
        raise typer.BadParameter("it goes with --share: without it the model is promoted at once", param_hint="--auto")
    with database.session() as session:
        change = service.promote(session, models.resolve(session, reference), stream, share=share, auto=auto)
    emit(change, as_json, _promoted_line)


def rollback(stream: Stream = None, as_json: AsJson = False) -> None:
    """Stop the canary, or where none runs go back to the model that was in service before, from the next shard on."""
    from workers import database
    from workers.catalog import service

    with database.session() as session:
        change = service.rollback(session, stream)
    emit(change, as_json, _rolled_back_line)


def promotions(
    stream: Stream = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=LARGEST_BIGINT, help="At most N.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List which models are and were in service, the newest first, and how the canaries do that run."""
    from workers import database
    from workers.catalog import service

    with database.session() as session:
        found = [row.model_dump() for row in service.history(session, stream, limit)]
    emit(found, as_json, _page)
    if not found and not as_json:
        say("No model is in service yet: `tweetmill promote MODEL` puts one there.")


def _place(stream: str | None) -> str:
    return "by default" if stream is None else f"for {stream}"


def _promoted_line(change: Any) -> str:
    where = _place(change.stream)
    if change.share is not None:
        compared = f"{change.share} of 100 shards, the others are {change.before}'s"
        return f"Model {change.after} is a canary {where}: {compared}. `tweetmill promotions` shows how it does."
    after = f", after {change.before}" if change.before is not None else ""
    return f"Model {change.after} is in service {where} from the next shard on{after}. `tweetmill rollback` takes it back."


def _rolled_back_line(change: Any) -> str:
    where = _place(change.stream)
    if change.stopped_canary is not None:
        return f"The canary {change.stopped_canary} is stopped: {change.after} writes all shards {where}."
    return f"Model {change.after} is in service {where} again, in place of {change.before}."


def _page(found: Sequence[dict[str, Any]]) -> RenderableType:
    """Return the history, and below it the figures of each canary that runs."""
    from rich.console import Group

    running = [row for row in found if row["state"] == "canary"]
    return _table(found) if not running else Group(_table(found), *(part for row in running for part in _comparison(row)))


def _table(found: Sequence[dict[str, Any]]) -> RenderableType:
    from producers.render.listing import Column, Listing

    columns = (
        Column("stream", least=12),
        Column("model", least=16),
        Column("state"),
        Column("since"),
        Column("until", 2),
        Column("by", 1),
        Column("why it ended", 3, least=24, in_full=True, labelled=True),
    )
    rows = [
        (
            each["stream"] or "default",
            each["name"],
            each["state"].replace("_", " ") + (f" {each['share']}%" if each["share"] else ""),
            f"{each['created_at']:%Y-%m-%d %H:%M}",
            f"{each['ended_at']:%Y-%m-%d %H:%M}" if each["ended_at"] else "",
            each["command"],
            each["reason"] or "",
        )
        for each in found
    ]
    return Listing(columns, rows)


def _comparison(canary: dict[str, Any]) -> list[RenderableType]:
    """Return a canary's figures beside those of the model in service, and the verdict in words."""
    from workers.canary.comparison import MEASURES

    name, where, figures = canary["name"], _place(canary["stream"]), canary["figures"]
    if figures is None:
        return ["", styled(f"Canary {name} {where}: none of its shards has ended yet.")]
    table = titled_table(f"Canary {name} {where}, {canary['share']} of 100 shards")
    table.add_column("", no_wrap=True)
    for head in ("canary", "in service", "difference", "95%, at every look"):
        table.add_column(head, justify="right", no_wrap=True)
    for measure, words in MEASURES.items():
        table.add_row(words, *_cells(measure, figures["figures"][measure]))
    rows, others = figures["rows"]
    rests = f"{rows:,} tweets of the canary and {others:,} of the model in service, in {figures['groups']} groups of shards."
    return ["", table, styled(f"{figures['says'][:1].upper()}{figures['says'][1:]}. {rests}")]


def _cells(measure: str, figure: dict[str, float | None]) -> list[str]:
    """Return a measure of both models, their difference and its interval; shares in percent."""
    scale, unit = (1.0, "") if measure in ("words", "seconds") else (100.0, "%")

    def shown(name: str, sign: str = "") -> str:
        value = figure[name]
        return "" if value is None else f"{scale * value:{sign}.2f}{unit if not sign else ''}"

    bounded = f"{shown('low', '+')} to {shown('high', '+')}" if figure["low"] is not None else ""
    return [shown("candidate"), shown("incumbent"), shown("difference", "+"), bounded]
