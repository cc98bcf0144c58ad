"""The verbs of the stack: up, down, status, worker, drain, migrate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.cli.render.output import DONE, FAILED, STACK, AsJson, emit, example, line, say, styled

if TYPE_CHECKING:
    from rich.console import RenderableType

_LOOK_EVERY = 0.5  # seconds


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(rich_help_panel=STACK, epilog=example("tweetmill up --workers 2 -d"))(up)
    app.command(rich_help_panel=STACK, epilog=example("tweetmill down"))(down)
    app.command(rich_help_panel=STACK, epilog=example("tweetmill status", "tweetmill status --json | jq .redis.queues"))(status)
    app.command(rich_help_panel=STACK, epilog=example("tweetmill worker --queues training,summarization --gpu 0"))(worker)
    app.command(rich_help_panel=STACK, epilog=example("tweetmill drain worker2 --wait", "tweetmill drain --all"))(drain)
    app.command(rich_help_panel=STACK, epilog=example("DATABASE_URL=postgresql://me@db/tweetmill tweetmill migrate"))(migrate)


def up(
    workers: Annotated[int | None, typer.Option("--workers", "-n", min=1, max=64, help="Workers; default: 1, or all that left.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=4096, help="CPU threads of each worker; default: its share of the cores.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the workers are ready.")] = False,
) -> None:
    """Start Redis, Postgres, workers and Flower on this machine; no Docker, no root.

    With CELERY_BROKER_URL or DATABASE_URL set, those servers are used instead of own ones. When the stack is up already, the workers
    that it has too few of are started.
    """
    from deploy.local import stack as local
    from workers.settings import get_settings

    stack = local.up(get_settings(), local.Plan(workers, threads), detach, lambda message: say(f"· {message}"))
    if "already" in stack:
        say(f"Already up, with {stack['workers']} worker(s)" + (f", {stack['already']} of them started now." if stack["already"] else "."))
        if workers is not None and stack["workers"] > workers:
            say("To have fewer: `tweetmill drain WORKER`")
    if stack:
        settings = get_settings()
        where = f"Flower: {stack['flower']}, user {settings.flower_user}, password in {settings.flower_password_file}"
        say(f"Up. {where}")


def down() -> None:
    """Stop everything that `up` started; the data stay."""
    from deploy.local import stack as local
    from workers.settings import get_settings

    ran = local.down(get_settings(), lambda message: say(f"· {message}"))
    say("Down. The data stay." if ran else "Nothing was running.")


def status(as_json: AsJson = False) -> None:
    """Show servers, tables, workers, queues, Flower and free disk. Exit code 0 when jobs can run, else 1."""
    from deploy.health import status as read
    from deploy.local.home import Home
    from workers.settings import ENVIRONMENT, get_settings
    from workers.settings_sources import is_set

    settings = get_settings()
    reading = read(settings, Home(settings.home))
    emit(reading, as_json, _status_table)
    if not reading["ready"] and not as_json:
        mended_by_up = not reading["problems"] and not any(is_set(name, ENVIRONMENT) for name in ("DATABASE_URL", "CELERY_BROKER_URL"))
        cure = "`tweetmill up` starts what is missing." if mended_by_up else "what stands above keeps jobs from running."
        say(f"Not ready: {cure}")
    raise typer.Exit(DONE if reading["ready"] else FAILED)


def worker(
    queues: Annotated[str | None, typer.Option("--queues", "-Q", help="Queues to serve, with commas between them; default: all.")] = None,
    gpu: Annotated[str | None, typer.Option(help="GPUs that it may use, such as 0 or 0,1.")] = None,
    name: Annotated[str | None, typer.Option(help="Its name; the host is added.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=4096, help="Jobs at a time.")] = 1,
) -> None:
    """Run one worker here, against the servers of CELERY_BROKER_URL and DATABASE_URL or of the stack that is up."""
    import os

    from deploy import worker as node
    from schemas.payloads import Queue
    from workers.settings import get_settings

    wanted = list(Queue) if queues is None else [queue.strip() for queue in queues.split(",") if queue.strip()]
    settings = get_settings()
    node.check(settings, wanted)
    node.become(settings, name or (f"gpu{gpu.replace(',', '-')}" if gpu else f"worker{os.getpid()}"), wanted, concurrency, gpu)


def drain(
    workers: Annotated[
        list[str] | None, typer.Argument(metavar="[WORKER]...", help="Names as status shows them, or what stands before the @.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All workers that live, on all machines.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they have left.")] = False,
) -> None:
    """Have workers leave: they take no job any more, give back what they hold at its next step, and end. No failure is counted."""
    from workers.database import transaction
    from workers.jobs import worker_registry

    if bool(workers) == every:
        raise typer.BadParameter("name workers, or give --all")
    with transaction() as connection:
        asked = worker_registry.drain(connection, workers or None)
    if not asked:
        say("No worker is alive.")
    for worker in asked:
        say(f"Asked {line(worker.name)} to leave" + (f": it gives {worker.jobs} job(s) back." if worker.jobs else "."))
    if wait and asked:
        _wait_for_leave({(worker.name, worker.pid) for worker in asked})
        say("All have left.", "bold green")


def _wait_for_leave(asked: set[tuple[str, int]]) -> None:
    import time

    from workers.database import transaction
    from workers.jobs import worker_registry

    while True:
        with transaction() as connection:
            if not asked & {(worker.name, worker.pid) for worker in worker_registry.live(connection)}:
                return
        time.sleep(_LOOK_EVERY)


def migrate() -> None:
    """Bring the tables of the database up to date, and the rights of its roles."""
    from deploy.migrate import grant
    from deploy.migrate import migrate as bring_to_head
    from workers.settings import get_settings

    before, after = bring_to_head(get_settings())
    say(f"The tables stood at {after} already." if before == after else f"The tables went from {before or 'nothing'} to {after}.")
    missing = grant(get_settings())
    if missing:
        say(missing)


def _status_table(reading: dict[str, Any]) -> RenderableType:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for server in ("redis", "postgres"):
        table.add_row(server, line(_server(reading[server])))
    if reading["postgres"]["answers"]:
        stands = reading["postgres"]
        table.add_row("tables", f"at {stands['revision']}" + ("" if stands["revision"] == stands["head"] else f", behind {stands['head']}"))
    for live in reading["workers"]:
        table.add_row("worker", line(_worker(live)))
    for gone in (kept for kept in reading["processes"] if kept["left"]):
        table.add_row("worker", f"{line(gone['name'])} left, as it was asked to: `tweetmill up` brings it back")
    if not reading["workers"]:
        table.add_row("worker", styled("none alive", "red"))
    if reading["redis"]["answers"]:
        table.add_row("queues", ", ".join(f"{name} {count}" for name, count in reading["redis"]["queues"].items()))
    if reading["flower"]["url"]:
        table.add_row(
            "flower", f"{reading['flower']['url']}  (user {reading['flower']['user']}, password in {reading['flower']['password_file']})"
        )
    for problem in reading["problems"]:
        table.add_row("problem", styled(problem, "red"))
    for warning in reading["warnings"]:
        table.add_row("warning", styled(warning, "yellow"))
    table.add_row("home", f"{line(str(reading['home']))}  ({reading['disk_free_gib']} GiB free)")
    return table


def _worker(live: dict[str, Any]) -> str:
    holds = f"; {live['jobs']} job(s)" if live["jobs"] else ""
    leaves = "; is leaving" if live["draining"] else ""
    return f"{live['name']}  ({', '.join(live['queues'])}; seen {live['seen_seconds_ago']} s ago{holds}{leaves})"


def _server(reading: dict[str, Any]) -> str:
    if not reading["answers"]:
        return f"no answer: {reading['error']}"
    return f"{reading['version']}, answers in {reading['ms']} ms"
