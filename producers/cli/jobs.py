"""The verbs of jobs: jobs, job, logs, cancel, retry."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.cli.output import JOBS, AsJson, emit, example, say
from schemas.states import RETRIABLE, JobState

if TYPE_CHECKING:
    import uuid

    from rich.console import RenderableType

    from workers.views import EventView, JobView

Reference = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, the beginning of it, or latest.")]

_COLOURS = {"queued": "dim", "running": "cyan", "done": "green", "failed": "red", "cancelled": "yellow", "quarantined": "bold red"}
_FOLLOW_EVERY = 0.5
_EVENTS_SHOWN = 12


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(rich_help_panel=JOBS, epilog=example("tweetmill jobs", "tweetmill jobs --state failed --kind training"))(jobs)
    app.command(rich_help_panel=JOBS, epilog=example("tweetmill job latest", "tweetmill job 3f2a --json | jq .result"))(job)
    app.command(rich_help_panel=JOBS, epilog=example("tweetmill logs latest -f"))(logs)
    app.command(rich_help_panel=JOBS, epilog=example("tweetmill cancel 3f2a"))(cancel)
    app.command(rich_help_panel=JOBS, epilog=example("tweetmill retry 3f2a", "tweetmill retry --quarantined"))(retry)


def jobs(
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as training or summarization.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Show at most so many.")] = 20,
    every: Annotated[bool, typer.Option("--all", help="Show the shards of summarization jobs too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    from workers import views
    from workers.store import transaction

    with transaction() as connection:
        found = views.jobs(connection, state=state, kind=kind, shards=every, limit=limit)
        quarantined = views.quarantined(connection)
    emit(found, as_json, _jobs_table)
    if not found and not as_json:
        say("No such job." if state or kind else "No job yet. [bold]tweetmill demo[/bold] shows the way.")
    if quarantined and not as_json:
        say(
            f"{quarantined} quarantined: [bold]tweetmill jobs --all --state quarantined[/bold] lists them, "
            "[bold]tweetmill job JOB[/bold] says why, [bold]tweetmill retry --quarantined[/bold] runs them again."
        )


def job(reference: Reference, as_json: AsJson = False) -> None:
    """Show one job: how it stands, what it was asked, what came of it, and what happened on the way."""
    from workers import ledger, views
    from workers.store import transaction

    with transaction() as connection:
        id_ = ledger.resolve(connection, reference)
        found = views.job(connection, id_)
        shards = views.shards(connection, id_)
        rejected, first = views.rejected(connection, id_)
        seen: dict[str, Any] = {**asdict(found), "shards": shards.states, "rows": shards.rows, "rows_done": shards.rows_done}
        seen |= {"rejected": rejected, "rejected_rows": [asdict(row) for row in first]}
        seen |= {"metrics": [asdict(row) for row in views.metrics(connection, id_)]}
        seen |= {"events": [asdict(event) for event in views.last_events(connection, id_, limit=_EVENTS_SHOWN)]}
    emit(seen, as_json, lambda _: _job_page(found, seen))


def logs(
    reference: Reference,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a job and its shards, oldest first. With --json one object a line."""
    import json
    import time

    from workers import ledger, views
    from workers.store import transaction

    with transaction() as connection:
        id_ = ledger.resolve(connection, reference)
    after = 0
    while True:
        with transaction() as connection:
            # Before the events: what a final job did is all written.
            ended = views.job(connection, id_).final
            events = views.events(connection, id_, after=after)
        for event in events:
            typer.echo(json.dumps(asdict(event), default=str, ensure_ascii=False) if as_json else _event_line(event, id_))
            after = event.id
        if not events and (ended or not follow):
            return
        if not events:
            time.sleep(_FOLLOW_EVERY)


def cancel(reference: Reference) -> None:
    """Cancel a job and its shards. What runs stops within seconds; rows that are stored stay."""
    from workers import family, ledger
    from workers.store import transaction

    with transaction() as connection:
        id_ = ledger.resolve(connection, reference)
        concerned = family.cancel(connection, id_)
    say(f"Cancelled {str(id_)[:8]}" + (f" with {concerned - 1} shards." if concerned > 1 else "."))


def retry(
    reference: Annotated[str | None, typer.Argument(metavar="[JOB]", help="A job's id, the beginning of it, or latest.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All jobs that failed.")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="All jobs that failed too often.")] = False,
) -> None:
    """Queue ended jobs again: one with its unfinished shards, or all that failed. What is stored already is not done again."""
    from workers import family, ledger
    from workers.errors import UserError
    from workers.store import transaction

    many = [state for state, wanted in ((JobState.FAILED, failed), (JobState.QUARANTINED, quarantined)) if wanted]
    if (reference is None) == (not many):
        raise typer.BadParameter("name one job, or give --failed or --quarantined")
    with transaction() as connection:
        id_ = ledger.resolve(connection, reference) if reference is not None else None
        again = family.retry(connection, many or RETRIABLE, id_)
    if not again and id_ is not None:
        raise UserError(f"job {id_} has nothing to retry. `tweetmill job {str(id_)[:8]}` shows how it stands")
    say(f"Queued {len(again)} job{'' if len(again) == 1 else 's'} again.")


def _jobs_table(found: list[JobView]) -> RenderableType:
    from rich.markup import escape
    from rich.table import Table

    from producers.cli.watching import duration, sight
    from workers.views import ShardsView

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("job", "kind", "state", "created", "took", "progress"):
        table.add_column(column, no_wrap=column != "progress")
    for each in found:
        what = str(each.error["message"]) if each.error and each.state is not JobState.DONE else sight(each, ShardsView()).line
        table.add_row(
            str(each.id)[:8], each.kind, _coloured(each.state), f"{each.created_at:%Y-%m-%d %H:%M}", duration(each.seconds), escape(what)
        )
    return table


def _job_page(found: JobView, seen: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    from producers.cli.watching import duration

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("job", str(found.id))
    table.add_row("kind", found.kind)
    table.add_row("state", _coloured(found.state) + (f" (told to {found.orders})" if found.orders else ""))
    table.add_row("tries", f"{found.attempt}, {found.failures} of {found.max_failures} failures, {found.preemptions} times given back")
    table.add_row("worker", escape(found.owner or "none yet"))
    table.add_row("took", duration(found.seconds))
    for name in ("progress", "shards", "result"):
        for key, value in (seen[name] or {}).items():
            table.add_row(f"{name} {key}", escape(_short(value)))
    if seen["rows"]:
        table.add_row("rows", f"{seen['rows_done']} of {seen['rows']} done")
    if seen["rejected"]:
        table.add_row("rejected", f"{seen['rejected']} rows, the first: {escape(_reason(seen['rejected_rows'][0]))}")
    if found.error:
        table.add_row("error", f"[red]{escape(str(found.error.get('class')))}: {escape(str(found.error.get('message')))}[/red]")
        if found.error.get("worker"):
            table.add_row("happened on", escape(f"{found.error['worker']}, host {found.error.get('host', 'unknown')}"))
    if found.state in RETRIABLE:
        table.add_row("", f"[bold]tweetmill retry {str(found.id)[:8]}[/bold] runs it again")
    tail = [escape(line) for line in str((found.error or {}).get("log_tail", "")).splitlines()[-20:]]
    events = [escape(_event_row(event, found.id)) for event in seen["events"]]
    if len(events) == _EVENTS_SHOWN:
        events[0] = f"[dim]… tweetmill logs {str(found.id)[:8]} shows all[/dim]"
    return Group(table, *tail, "", *events)


def _coloured(state: JobState) -> str:
    return f"[{_COLOURS[state.value]}]{state.value}[/]"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _reason(row: dict[str, Any]) -> str:
    where = f"{row['origin']} {row['row_key']}" + (f", {row['field']}" if row["field"] else "")
    return f"{where}: {row['reason']}"


def _event_line(event: EventView, asked: uuid.UUID) -> str:
    return _event_row(asdict(event), asked)


def _event_row(event: dict[str, Any], asked: uuid.UUID) -> str:
    shard = "" if event["job"] == asked else f"{str(event['job'])[:8]} "
    line = f"{event['at']:%Y-%m-%d %H:%M:%S} {shard}attempt {event['attempt']}: {event['event']}"
    return f"{line}: {event['detail']}" if event["detail"] else line
