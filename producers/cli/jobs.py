"""The verbs of jobs: jobs, job, logs, cancel, retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render import streams
from producers.render.output import JOBS, AsJson, brief, emit, example, json_text, line, say, styled
from schemas.states import RETRIABLE, JobState

if TYPE_CHECKING:
    import uuid

    from rich.console import RenderableType
    from rich.text import Text

    from producers.render.training import Curves
    from schemas.tables.jobs import Job, JobEvent
    from workers.jobs.queries import JobStatus

Reference = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, the beginning of it, or latest.")]

_COLOURS = {"queued": "dim", "running": "cyan", "done": "green", "failed": "red", "cancelled": "yellow", "quarantined": "bold red"}
_FOLLOW_EVERY = 0.5
_EVENTS_SHOWN = 12
_OF_A_REJECTED_ROW = {"origin", "row_key", "field", "reason"}
_NAMES = 18  # characters for the name of a fact


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
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Show at most N.")] = 20,
    every: Annotated[bool, typer.Option("--all", help="Show the shards of summarization jobs too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    from workers import database
    from workers.jobs import queries

    with database.session() as session:
        found = queries.jobs(session, state=state, kind=kind, shards=every, limit=limit)
        quarantined = queries.quarantined(session)
    emit([each.as_dict() for each in found], as_json, lambda _: _jobs_table(found))
    if not found and not as_json:
        say("No such job." if state or kind else "No job yet. `tweetmill demo` shows the way.")
    if quarantined and not as_json:
        say(
            f"{quarantined} quarantined: `tweetmill jobs --all --state quarantined` lists them, "
            "`tweetmill job JOB` says why, `tweetmill retry --quarantined` runs them again."
        )


def job(reference: Reference, as_json: AsJson = False) -> None:
    """Show one job: how it stands, what it was asked, what came of it, and what happened on the way."""
    from producers.render.training import Curves
    from workers import database
    from workers.jobs import ledger, members, queries

    with database.session() as session:
        id_ = ledger.resolve(session.connection(), reference)
        found = queries.job_status(session, id_)
        gang = members.members(session.connection(), id_)
        shards = queries.shards(session, id_)
        rejected, first = queries.rejected(session, id_)
        seen: dict[str, Any] = {**found.as_dict(), "shards": shards.states, "rows": shards.rows, "rows_done": shards.rows_done}
        seen |= {"rejected": rejected, "rejected_rows": [row.model_dump(include=_OF_A_REJECTED_ROW) for row in first]}
        measured = queries.metrics(session, id_)
        seen |= {"metrics": [row.model_dump(exclude={"job"}) for row in measured]}
        seen |= {"members": [member.as_dict() for member in gang]}
        seen |= {"events": [event.model_dump() for event in queries.last_events(session, id_, limit=_EVENTS_SHOWN)]}
    emit(seen, as_json, lambda _: _job_page(found, seen, Curves.of(measured)))


def logs(
    reference: Reference,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a job and its shards, oldest first. With --json one object a line."""
    import time

    from workers import database
    from workers.jobs import ledger, queries

    with database.session() as session:
        id_ = ledger.resolve(session.connection(), reference)
    after = 0
    while True:
        with database.session() as session:
            # Before the events: what a final job did is all written.
            ended = queries.job(session, id_).final
            events = queries.events(session, id_, after=after)
        for event in events:
            streams.write((json_text(event.model_dump()) if as_json else _event_line(event, id_)) + "\n")
            after = event.id
        if not events and (ended or not follow):
            return
        if not events:
            time.sleep(_FOLLOW_EVERY)


def cancel(reference: Reference) -> None:
    """Cancel a job and its shards or members. What runs stops within seconds; rows that are stored stay."""
    from workers.database import transaction
    from workers.jobs import fanout, ledger

    with transaction() as connection:
        id_ = ledger.resolve(connection, reference)
        concerned = fanout.cancel(connection, id_)
    say(f"Cancelled {str(id_)[:8]}" + (f" with {concerned - 1} shards or members." if concerned > 1 else "."))


def retry(
    reference: Annotated[str | None, typer.Argument(metavar="[JOB]", help="A job's id, the beginning of it, or latest.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All jobs that failed.")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="All jobs that failed too often.")] = False,
) -> None:
    """Queue ended jobs again: one with its unfinished shards, or all that failed. What is stored already is not done again."""
    from workers.database import transaction
    from workers.errors import UserError
    from workers.jobs import fanout, ledger

    many = [state for state, wanted in ((JobState.FAILED, failed), (JobState.QUARANTINED, quarantined)) if wanted]
    if (reference is None) == (not many):
        raise typer.BadParameter("name one job, or give --failed or --quarantined")
    with transaction() as connection:
        id_ = ledger.resolve(connection, reference) if reference is not None else None
        again = fanout.retry(connection, many or RETRIABLE, id_)
    if not again and id_ is not None:
        raise UserError(f"job {id_} has nothing to retry. `tweetmill job {str(id_)[:8]}` shows how it stands")
    say(f"Queued {len(again)} job{'' if len(again) == 1 else 's'} again.")


def _jobs_table(found: list[JobStatus]) -> RenderableType:
    from producers.render.listing import Column, Listing
    from producers.render.quantities import duration

    when = Column("created", 2), Column("took", 3, right=True), Column("worker", 1, least=12)
    columns = (Column("job"), Column("kind", 4), Column("state"), *when, Column("progress", least=40))
    rows = [
        (
            str(each.job.id)[:8],
            each.job.kind.rpartition(".")[2],
            _coloured(each.job.state),
            f"{each.job.created_at:%Y-%m-%d %H:%M}",
            duration(each.seconds),
            each.job.owner or "",
            _standing(each.job),
        )
        for each in found
    ]
    return Listing(columns, rows)


def _standing(found: Job) -> str:
    """Return in one line what came of a job, why it failed, or how far it is."""
    from producers.render.progress import outcome, progress_of
    from workers.jobs.queries import ShardCounts

    if found.error and found.state is not JobState.DONE:
        return str(found.error.get("message"))
    if found.state is JobState.QUEUED and found.preemptions:
        return f"waits, given back {found.preemptions} {'time' if found.preemptions == 1 else 'times'}"
    return outcome(found) or progress_of(found, ShardCounts()).line or ("starting" if found.state is JobState.RUNNING else "")


def _job_page(status: JobStatus, seen: dict[str, Any], curves: Curves) -> RenderableType:
    """One line a fact, cut where the terminal ends; what somebody must read whole, an error, is wrapped instead."""
    from rich.console import Group

    found, facts = status.job, _facts(status, seen, curves)
    parts: list[RenderableType] = [_one_line(f"{name:<{_NAMES}} ", value) for name, value in facts]
    if found.error:
        parts.append(_wrapped("error", f"{found.error.get('class')}: {found.error.get('message')}", "red"))
    if seen["rejected"]:
        parts.append(_wrapped("rejected", f"{seen['rejected']} rows, the first: {_reason(seen['rejected_rows'][0])}"))
    if waits := _waits(found, seen["events"]):
        parts.append(_wrapped("waits", waits, "yellow"))
    if found.state in RETRIABLE:
        parts.append(_wrapped("", f"`tweetmill retry {str(found.id)[:8]}` runs it again"))
    parts += [line(each) for each in str((found.error or {}).get("log_tail", "")).splitlines()[-20:]]
    parts.append("")
    events = [_one_line("", _event_row(event, found.id)) for event in seen["events"]]
    if len(events) == _EVENTS_SHOWN:
        events[0] = styled(f"… tweetmill logs {str(found.id)[:8]} shows all", "dim")
    return Group(*parts, *events)


def _waits(found: Job, events: list[dict[str, Any]]) -> str:
    """Return why a job was given back to the queue last, and when it may be tried again; empty where it is not so."""
    last = next((event for event in reversed(events) if event["job"] == found.id), None)
    if found.state is not JobState.QUEUED or last is None or last["event"] != "released":
        return ""
    return f"{last['detail']} (tried again from {found.run_after:%H:%M:%S} on)"


def _facts(status: JobStatus, seen: dict[str, Any], curves: Curves) -> list[tuple[str, str | Text]]:
    from producers.render.quantities import duration
    from producers.render.training import evaluations, is_said, job_facts

    found, state = status.job, _coloured(status.job.state)
    facts: list[tuple[str, str | Text]] = [
        ("job", str(found.id)),
        ("kind", found.kind),
        ("state", state + styled(f" ({found.orders} requested)") if found.orders else state),
        ("progress", _standing(found) if not found.error else ""),
        ("tries", f"{found.attempt}, {found.failures} of {found.max_failures} failures, {found.preemptions} times given back"),
        ("worker", found.owner or "none yet"),
        ("took", duration(status.seconds)),
    ]
    if found.error and found.error.get("worker"):
        facts.append(("happened on", f"{found.error['worker']}, host {found.error.get('host', 'unknown')}"))
    facts += [(f"node {member['node']}", _member(member)) for member in seen["members"]]
    if seen["rows"]:
        facts.append(("rows", f"{seen['rows_done']} of {seen['rows']} done"))
    if "total_steps" in found.progress:
        facts += [*job_facts(found.progress, has_ended=found.final), *evaluations(curves)]
    for name in ("progress", "shards", "result"):
        left = {key: value for key, value in (seen[name] or {}).items() if value is not None and key != "gang"}
        facts += [(f"{name} {key}", brief(value)) for key, value in left.items() if name != "progress" or not is_said(key)]
    return [(name, value) for name, value in facts if value]


def _member(member: dict[str, Any]) -> str:
    """Return who has one node of a training, and until when; node 0 is the job's own worker."""
    if member["state"] is not JobState.RUNNING:
        return "waits for a worker" if member["state"] is JobState.QUEUED else member["state"].value
    return f"{member['worker']}, lease until {member['lease_until']:%H:%M:%S}"


def _one_line(name: str, value: str | Text) -> Text:
    text = styled(name, "bold") + (styled(line(value)) if isinstance(value, str) else value)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _wrapped(name: str, value: str, style: str = "") -> RenderableType:
    from rich.table import Table

    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=_NAMES, style="bold")
    table.add_column()
    table.add_row(name, styled(value, style))
    return table


def _coloured(state: JobState) -> Text:
    return styled(state.value, _COLOURS[state.value])


def _reason(row: dict[str, Any]) -> str:
    where = f"{row['origin']} {row['row_key']}" + (f", {row['field']}" if row["field"] else "")
    return f"{where}: {row['reason']}"


def _event_line(event: JobEvent, asked: uuid.UUID) -> str:
    return line(_event_row(event.model_dump(), asked))


def _event_row(event: dict[str, Any], asked: uuid.UUID) -> str:
    shard = "" if event["job"] == asked else f"{str(event['job'])[:8]} "
    row = f"{event['at']:%Y-%m-%d %H:%M:%S} {shard}attempt {event['attempt']}: {event['event']}"
    return f"{row}: {event['detail']}" if event["detail"] else row
