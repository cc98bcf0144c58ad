"""The verbs of the stack: up, down, status, worker, drain, migrate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.exit_codes import DONE, FAILED
from producers.render.output import STACK, AsJson, emit, example, line, say, styled

if TYPE_CHECKING:
    from rich.console import RenderableType

_LOOK_EVERY = 0.5  # seconds
_WHOLE = frozenset({"redis", "postgres", "problem", "warning", "flower", "password", "home"})  # never cut


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(rich_help_panel=STACK, epilog=example("tweetmill up --workers 2 -d"))(up)
    app.command(rich_help_panel=STACK, epilog=example("tweetmill down"))(down)
    app.command(rich_help_panel=STACK, epilog=example("tweetmill status", "tweetmill status --json | jq .redis.queues"))(status)
    app.command(
        rich_help_panel=STACK,
        epilog=example("tweetmill worker --queues training,summarization --gpu 0", "tweetmill worker --engine vllm --concurrency 4"),
    )(worker)
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

    With CELERY_BROKER_URL or DATABASE_URL set, those servers are used instead of its own. When the stack is up already, missing
    workers are started.
    """
    from deploy.local import stack
    from workers.settings import get_settings

    running = stack.up(get_settings(), stack.StackSize(workers, threads), detach, lambda message: say(f"· {message}"))
    if "already" in running:
        say(
            f"Already up, with {running['workers']} worker(s)"
            + (f", {running['already']} of them started now." if running["already"] else ".")
        )
        if workers is not None and running["workers"] > workers:
            say("To have fewer: `tweetmill drain WORKER`")
    if running:
        settings = get_settings()
        where = f"Flower: {running['flower']}, user {settings.flower_user}, password in {settings.flower_password_file}"
        say(f"Up. {where}")


def down() -> None:
    """Stop everything that `up` started; the data is kept."""
    from deploy.local import stack
    from workers.settings import get_settings

    ran = stack.down(get_settings(), lambda message: say(f"· {message}"))
    say("Down. The data is kept." if ran else "Nothing was running.")


def status(as_json: AsJson = False) -> None:
    """Show servers, tables, workers, queues, Flower and free disk. Exit code 0 when jobs can run, else 1."""
    from deploy.health import status as read
    from deploy.local.home import Home
    from workers.configuration.settings_sources import is_set
    from workers.settings import ENVIRONMENT, get_settings

    settings = get_settings()
    reading = read(settings, Home(settings.home))
    emit(reading, as_json, _status_table)
    if not reading["ready"] and not as_json:
        mended_by_up = not reading["problems"] and not any(is_set(name, ENVIRONMENT) for name in ("DATABASE_URL", "CELERY_BROKER_URL"))
        cure = "`tweetmill up` starts what is missing." if mended_by_up else "what stands above keeps jobs from running."
        say(f"Not ready: {cure}")
    raise typer.Exit(DONE if reading["ready"] else FAILED)


def worker(
    queues: Annotated[
        str | None, typer.Option("--queues", "-Q", help="Queues to serve, separated by commas; default: all.", show_default=False)
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="GPUs that it may use, such as 0 or 0,1.")] = None,
    name: Annotated[str | None, typer.Option(help="Its name; the host is added.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=4096, help="Jobs at a time.")] = 1,
    engine: Annotated[
        str | None, typer.Option(help="What writes: transformers, openai, vllm …; default: TWEETMILL_ENGINE.", show_default=False)
    ] = None,
) -> None:
    """Run one worker here, against the servers of CELERY_BROKER_URL and DATABASE_URL or of the stack that is up."""
    import os

    from deploy import worker as node
    from schemas.payloads import Queue
    from workers.configuration.settings_sources import engine_names
    from workers.settings import get_settings

    if engine is not None and engine not in engine_names():
        raise typer.BadParameter(f"there are the engines {', '.join(engine_names())}", param_hint="--engine")
    wanted = list(Queue) if queues is None else [queue.strip() for queue in queues.split(",") if queue.strip()]
    settings = get_settings()
    node.check(settings, wanted)
    node.become(settings, name or (f"gpu{gpu.replace(',', '-')}" if gpu else f"worker{os.getpid()}"), wanted, concurrency, gpu, engine)


def drain(
    workers: Annotated[
        list[str] | None, typer.Argument(metavar="[WORKER]...", help="Names as status shows them, or what stands before the @.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All live workers, on all machines.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they have exited.")] = False,
) -> None:
    """Ask workers to stop: they take no more jobs, give back what they hold at its next step, and exit. No failure is counted."""
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
    """Migrate the tables of the database to the newest revision, and grant its roles their rights."""
    from deploy.migrate import grant
    from deploy.migrate import migrate as migrate_tables
    from workers.settings import get_settings

    before, after = migrate_tables(get_settings())
    say(f"The tables stood at {after} already." if before == after else f"The tables went from {before or 'nothing'} to {after}.")
    missing = grant(get_settings())
    if missing:
        say(missing)


def _status_table(reading: dict[str, Any]) -> RenderableType:
    """One line a fact; what must be read whole, a problem, a warning or a path, goes on in a second line where it is too long."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact, style in _facts(reading):
        text = styled(line(fact), style)
        if name not in _WHOLE:
            text.no_wrap, text.overflow = True, "ellipsis"
        table.add_row(name, text)
    return table


def _facts(reading: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the text and the style of each fact."""
    for server in ("redis", "postgres"):
        yield server, _server(reading[server]), "" if reading[server]["answers"] else "red"
    postgres = reading["postgres"]
    if postgres["answers"]:
        behind = postgres["revision"] != postgres["head"]
        yield "tables", f"at {postgres['revision']}" + (f", behind {postgres['head']}" if behind else ""), "yellow" if behind else ""
    for live in reading["workers"]:
        yield "worker", _worker(live), ""
    for gone in (process for process in reading["processes"] if process["left"]):
        yield "worker", f"{gone['name']} left after `tweetmill drain`: `tweetmill up` starts it again", ""
    if not reading["workers"]:
        yield "worker", "none alive", "red"
    if reading["redis"]["answers"]:
        yield "queues", ", ".join(f"{name} {count}" for name, count in reading["redis"]["queues"].items()), ""
    flower = reading["flower"]
    if flower["url"]:
        yield "flower", f"{flower['url']}, user {flower['user']}", ""
        yield "password", str(flower["password_file"]), ""
    for name, style in (("problem", "red"), ("warning", "yellow")):
        yield from ((name, text, style) for text in reading[f"{name}s"])
    yield "home", f"{reading['home']} ({reading['disk_free_gib']} GiB free)", ""


def _worker(live: dict[str, Any]) -> str:
    from schemas.payloads import Queue

    jobs = f"{live['jobs']} job{'' if live['jobs'] == 1 else 's'}" if live["jobs"] else "idle"
    queues = "all queues" if set(live["queues"]) == set(Queue) else ", ".join(live["queues"])
    parts = [live["name"], *["leaving"] * bool(live["draining"]), jobs, f"seen {live['seen_seconds_ago']} s ago", queues]
    return " · ".join(parts)


def _server(reading: dict[str, Any]) -> str:
    if not reading["answers"]:
        return f"no answer: {reading['error']}"
    return f"{reading['version']}, answers in {reading['ms']} ms"
