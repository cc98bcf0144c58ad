"""The verbs of streams: stream, streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import SUMMARIES, AsJson, emit, example, line, say
from producers.submitting import Encoding

if TYPE_CHECKING:
    from rich.console import RenderableType
    from sqlmodel import Session

    from producers.sources.names import Names
    from producers.streaming.loop import Plan
    from workers.ingest.live import Event, LiveSource
    from workers.streams.queries import StreamStatus

_SPOOLED_SHARDS = 4
"""As many shards as may be at work, and this many times more, are read ahead of a source that can wait."""


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(
        rich_help_panel=SUMMARIES,
        epilog=example(
            "tweetmill stream tweets.jsonl --follow --model latest",
            "tail -F /var/log/tweets.jsonl | tweetmill stream - --model demo --name log",
            "tweetmill stream incoming/ --model demo --max-age 2",
            "tweetmill stream bluesky --lang en",
        ),
    )(stream)
    app.command(
        name="streams", rich_help_panel=SUMMARIES, epilog=example("tweetmill streams", "tweetmill streams --json | jq '.[].lag_seconds'")
    )(list_streams)


def stream(
    address: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, a folder to watch, - for standard input, or a network.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model's name, its id, latest or in-service; looked up for each shard.")
    ] = "in-service",
    name: Annotated[
        str | None, typer.Option(help="The stream's name, which its tweets get as source; default: of the source.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Read a file on as it grows, through rotations.")] = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin anew instead of where it was left.")] = False,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Tweets of a shard at most.")] = 128,
    max_tokens: Annotated[int, typer.Option(min=1, max=10_000_000, help="Of a shard, estimated: a quarter of its tweets' bytes.")] = 16_384,
    max_age: Annotated[float, typer.Option(min=0.0, max=86_400.0, help="Seconds after which a tweet waits for no others.")] = 5.0,
    in_flight: Annotated[int, typer.Option(min=1, max=10_000, help="Unfinished shards at most; what comes meanwhile waits.")] = 8,
    spool: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000_000, help="Waiting tweets at which a file is not read on; of 32 shards by default.", show_default=False
        ),
    ] = None,
    guard: Annotated[bool, typer.Option("--guard/--no-guard", help="Check each summary against its tweet.")] = True,
    columns: Annotated[
        str | None, typer.Option("--map", metavar="text=KEY,id=KEY", help="Which keys or columns hold the fields.", show_default=False)
    ] = None,
    encoding: Encoding = None,
    languages: Annotated[
        list[str] | None, typer.Option("--lang", metavar="TAG", help="Only tweets in this language, of a network; may be given again.")
    ] = None,
    rules: Annotated[list[str] | None, typer.Option("--rule", help="What X is to send; may be given again.", show_default=False)] = None,
    max_usd: Annotated[
        float | None,
        typer.Option(min=0.0, max=1_000_000, help="Dollars that may be spent on reading X, over all starts.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Summarise tweets as they come, until the source ends or Ctrl-C. Started again, it goes on where it was left."""
    from producers.sources.live.registry import LiveOptions, default_name, open_live
    from producers.streaming.loop import Plan
    from schemas.bounds import usable_source
    from workers.ingest.readers.errors import SourceError
    from workers.streams.micro_batches import Limits

    of_network = frozenset(languages or ()), tuple(rules or ()), max_usd
    try:
        called = name or default_name(address)
    except ValueError as error:
        raise typer.BadParameter(f"it is no address ({error}): check it", param_hint="SOURCE") from None
    options = LiveOptions(called, _names(columns), encoding, follow, *of_network, from_start)
    try:
        usable_source(str(options.name))
        source = open_live(address, options)
    except ValueError as error:
        raise typer.BadParameter(str(error).replace("--source", "--name"), param_hint="--name") from None
    except SourceError as error:
        raise typer.BadParameter(str(error), param_hint="SOURCE") from None
    limits = Limits(batch, max_tokens, max_age, in_flight)
    plan = Plan(limits, spool or _SPOOLED_SHARDS * in_flight * batch, guard)
    _run(source, str(options.name), model, plan, from_start=from_start, as_json=as_json)


def _names(columns: str | None) -> Names:
    from producers.sources.names import FIELDS, Names
    from producers.submitting import parse_map

    return Names(parse_map(columns, FIELDS, "text=KEY,id=KEY,…, or some of them"))


def _run(source: LiveSource, name: str, model: str, plan: Plan, *, from_start: bool, as_json: bool) -> None:
    from dataclasses import asdict
    from functools import partial

    from producers.sources.live.registry import goes_on
    from producers.streaming.loop import StreamLoop
    from producers.streaming.progress import shown
    from producers.streaming.stopping import stop_signals
    from tasks import streams
    from workers import database
    from workers.errors import UserError
    from workers.ingest.readers.errors import SourceError
    from workers.streams.holding import NewStream

    with database.session() as session:
        # What is wrong is told before anything is read.
        warnings = _writes_otherwise(session, name, model)
    options = {**asdict(plan.limits), "spool": plan.spool, "guard": plan.guard}
    held = streams.start(NewStream(name, source.origin, model, options, partial(goes_on, source.origin)), from_start=from_start)
    say(f"Stream {line(name)}, job {str(held.job)[:8]}: " + ("going on where it was left." if held.cursor else "from the beginning."))
    for warning in warnings:
        say(f"{warning}: `tweetmill promotions` shows it.", "yellow")
    with stop_signals(lambda: say("Stopping: what was read is stored, what waits becomes a shard.")) as stopping:
        try:
            with shown(name, as_json=as_json) as show:
                StreamLoop(source, held, plan, stopping=stopping, show=show, on_event=_say_event).run()
        except SourceError as error:
            raise UserError(f"{line(source.origin)}: {error}") from None
    _say_end(name)
    _check_gain(name)


def _writes_otherwise(session: Session, name: str, model: str) -> list[str]:
    """Return in which ways other models write for a stream than `--model` says.

    Raises:
        NotFound: there is no such model, or none is in service.
    """
    from workers.catalog import models, service

    writes = models.serving(session, name, model)
    if model == models.IN_SERVICE:
        return []
    said = []
    if writes.model_id != models.resolve(session, model).id:
        said.append(f"A model was put in service for this stream, and writes in place of {line(model)}")
    if writes.candidate_id is not None:
        canary = line(models.by_id(session, writes.candidate_id).name)
        said.append(f"The canary {canary} writes {writes.share}% of this stream's shards")
    elif not service.decides(session, name, model) and service.canaries(session, name):
        said.append(f"A canary runs for this stream and gets no shard, for {line(model)} is not in service for it: leave --model out")
    return said


def _say_event(event: Event) -> None:
    if event.hole is not None:
        say(f"A hole: {line(event.hole.reason)}", "yellow")
    if event.said is not None:
        say(f"{line(event.said)}.", "yellow")


def _say_end(name: str) -> None:
    from producers.streaming.progress import status_or_none

    found = status_or_none(name)
    if found is None:
        return
    say(f"Stream {line(name)} {found.state}. {_counted(found.counters)}")
    if found.backlog:
        say(f"{found.backlog:,} tweets wait for a shard: the same command goes on with them.")
    if found.in_flight:
        are = "shard is" if found.in_flight == 1 else "shards are"
        say(f"{found.in_flight} {are} at work. `tweetmill logs {str(found.job)[:8]} -f` watches them.")
    if rejected := found.counters.get("rejected", 0) + found.counters.get("collisions", 0):
        what = "row" if rejected == 1 else "rows"
        say(f"{rejected:,} {what} could not be used. `tweetmill rejected --origin {line(found.address)}` says why.", "yellow")


def _check_gain(name: str) -> None:
    """End with exit code 1 where a source came to its end and not one tweet was among what it held, as `ingest` does."""
    from producers.streaming.progress import status_or_none

    found = status_or_none(name)
    if found is not None and found.state == "ended" and not found.counters.get("tweets"):
        say("Not one tweet came: look at what the source holds.", "yellow")
        raise typer.Exit(1)


def _counted(counters: dict[str, Any]) -> str:
    names = {
        "tweets": "tweets",
        "new": "of them new",
        "revised": "revised",
        "forgotten": "forgotten before and kept out",
        "deletions": "deletions",
        "holes": "holes",
        "rejected": "rejected",
        "collisions": "with a known id and another text",
    }
    parts = [f"{counters[key]:,} {said}" for key, said in names.items() if counters.get(key)]
    parts += [f"{number:,} no tweets ({kind})" for kind, number in counters.get("notices", {}).items()]
    return f"Over its life: {', '.join(parts)}." if parts else "Nothing came."


def list_streams(as_json: AsJson = False) -> None:
    """List all streams: how they stand, how far behind they are, and how fast they go."""
    from workers import database
    from workers.streams import queries

    with database.session() as session:
        found = queries.listed(session)
    emit([each.as_dict() for each in found], as_json, lambda _: _table(found))
    if not found and not as_json:
        say("No stream yet. `tweetmill stream SOURCE --model MODEL` begins one.")
    for each in found:
        if each.state == "lost" and not as_json:
            say(f"The process of stream {line(each.name)} is not heard of: start it again, it goes on where it was.", "yellow")
        elif each.error and not as_json:
            say(f"Stream {line(each.name)} failed: {line(each.error)}", "yellow")


def _table(found: list[StreamStatus]) -> RenderableType:
    from producers.render.listing import Column, Listing
    from producers.render.quantities import duration

    columns = (
        Column("stream", least=8),
        Column("state"),
        Column("wait", right=True),
        Column("shards", 3, right=True),
        Column("lag", right=True),
        Column("in/s", 5, right=True),
        Column("out/s", 5, right=True),
        Column("p50", 4, right=True),
        Column("p95", 4, right=True),
        Column("model", 2, least=6),
        Column("source", 1, least=10, tail=True),
    )
    rows = [
        (
            each.name,
            each.state,
            f"{each.backlog:,}",
            str(each.in_flight),
            duration(each.lag_seconds),
            f"{each.arrivals_per_second:.3g}",
            f"{each.summaries_per_second:.3g}",
            "" if each.latency_p50 is None else f"{each.latency_p50:.1f} s",
            "" if each.latency_p95 is None else f"{each.latency_p95:.1f} s",
            each.model,
            each.address,
        )
        for each in found
    ]
    return Listing(columns, rows)
