"""Start and stop the one-machine stack: Valkey, Postgres, workers and Flower under one folder, without Docker or root.

A home is held by the lock on `run/lock`: the supervisor has it from its first moment to its last, so that two stacks never share
a folder. What a killed supervisor left behind is found by `up`, which goes on with it, and by `down`, which stops it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deploy import flower
from deploy.environment import CODE, for_worker
from deploy.health import status as health
from deploy.local.finding import holders, supervisor_of
from deploy.local.home import Home
from deploy.local.processes import spawn
from deploy.local.processes import stop as stop_processes
from deploy.local.ready import ready_workers
from deploy.local.servers import Server, last_line
from deploy.local.signals import ended_by_signals, signals_ignored
from deploy.local.steps import Report, undisturbed
from deploy.local.supervisor import (
    ENDING,
    Supervisor,
    leftovers,
    servers_of,
    stop_children,
    supervisor_command,
    take_down,
)
from deploy.migrate import migrate
from workers.errors import Unavailable
from workers.file_permissions import UMASK
from workers.settings import Settings, get_settings

_UP_PATIENCE = 90.0
_DOWN_PATIENCE = 75.0


@dataclass(frozen=True)
class StackSize:
    """How much of the machine the stack takes."""

    workers: int | None = None
    threads: int | None = None

    @property
    def count(self) -> int:
        """Workers of a stack that is started anew."""
        return self.workers or 1

    def threads_each(self) -> int:
        """Return the CPU threads of one worker's engine: the cores are shared out."""
        return self.threads or max(1, cores() // self.count)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def up(settings: Settings, plan: StackSize, detach: bool, report: Report) -> dict[str, Any]:
    """Start the stack, or find it running.

    Args:
        settings: whose home is used; servers that they name are used instead of own ones.
        plan: how many workers. A stack that is up already gets those that it has too few of; unsaid: those that left.
        detach: return when the workers are ready, instead of staying until Ctrl-C.
        report: hears what happens, for people.

    Returns:
        What `stack.json` says, and `already` when another `up` was first: how many workers were added then.

    Raises:
        Unavailable: a server or a worker does not come up. Nothing is left running then.
        SettingsError: an address, or the file of a password, can't be used.
    """
    settings.check_addresses()
    home, report = Home(settings.home), undisturbed(report)
    os.umask(UMASK)
    with _file_errors_explained(home):
        home.prepare()
        held = _held(home)
        if held is None:
            return _add_workers(home, plan, report)
        home.close()
    try:
        with ended_by_signals() as check, _file_errors_explained(home):
            stop_children(home, report)
            _start_servers(settings, home, plan, report)
            check()
            if detach:
                return _start_supervisor(home, plan, held, report, check)
            Supervisor(get_settings(), home, plan.count, plan.threads_each(), report).run()
            return {}
    except BaseException:
        with signals_ignored():
            report("not up: stopping what was started")
            take_down(home, report)
        raise
    finally:
        os.close(held)


def _held(home: Home) -> int | None:
    """Return the home's lock; None when a stack is up that has it. One that is ending, or is only being started, is waited for."""
    deadline = time.monotonic() + _UP_PATIENCE
    while (held := home.lock()) is None:
        stack = home.read_stack()
        if stack.get("supervisor") and not stack.get(ENDING) and supervisor_of(home) is not None:
            return None
        if time.monotonic() > deadline:
            raise Unavailable(
                f"another `tweetmill up` has been at work on {home.path} for {_UP_PATIENCE:.0f} s: see {home.logs}, or `tweetmill down`"
            )
        time.sleep(0.2)
    return held


@contextmanager
def _file_errors_explained(home: Home) -> Iterator[None]:
    """Raise `Unavailable` with a sentence where the file system refuses something."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(home.path) else ""
        raise Unavailable(f"no stack can run in {home.path}: {error.strerror or error}{where}") from error


def _start_servers(settings: Settings, home: Home, plan: StackSize, report: Report) -> None:
    ours: dict[str, Server] = {name: server for name, server in servers_of(home).items() if not _is_external(settings, home, name)}
    for server in ours.values():
        begun = time.monotonic()
        server.start()
        report(f"{server.name} answers ({time.monotonic() - begun:.1f} s)")
    addresses: dict[str, Any] = {name: server.url for name, server in ours.items()}
    addresses["flower_password_file"] = str(flower.password_file(settings, home))
    home.write_stack({"settings": addresses | {"threads": plan.threads_each()}, "workers": plan.count})
    get_settings.cache_clear()
    before, after = migrate(get_settings())
    report(f"tables at {after}" if before == after else f"tables brought to {after}")


def _is_external(settings: Settings, home: Home, name: str) -> bool:
    # The settings hold what the environment says or, failing that, what the last `up` wrote down about its own servers.
    known = getattr(settings, name)
    return known is not None and known.get_secret_value() not in (
        home.read_stack().get("settings", {}).get(name),
        servers_of(home)[name].url,
    )


def _start_supervisor(home: Home, plan: StackSize, held: int, report: Report, check: Callable[[], None]) -> dict[str, Any]:
    log, environment = home.logs / "supervisor.log", for_worker(home.path, "supervisor")
    process = spawn(
        supervisor_command(plan.count, plan.threads_each()), log, environment=environment, folder=CODE, survives=True, keep=(held,)
    )
    try:
        started = _wait_until_ready(home, plan.count, report, lambda: process.poll() is None)
        check()
        return started
    except BaseException:
        with signals_ignored():
            process.terminate()
            process.wait(_DOWN_PATIENCE)
        raise


def _add_workers(home: Home, plan: StackSize, report: Report) -> dict[str, Any]:
    get_settings.cache_clear()  # the addresses may be younger than what was read of them
    stack = home.read_stack()
    had = stack["workers"]
    wanted = plan.workers or sum(kept["name"].startswith("worker") for kept in stack["processes"])
    if wanted <= had:
        return stack | {"already": 0}
    home.request_workers(wanted)
    return _wait_until_ready(home, wanted, report, lambda: supervisor_of(home) is not None) | {"already": wanted - had}


def _wait_until_ready(home: Home, workers: int, report: Report, is_supervised: Callable[[], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + _UP_PATIENCE
    reported: set[str] = set()
    failures = _restarts(home.read_stack())
    while time.monotonic() < deadline:
        if not is_supervised():
            log = home.logs / "supervisor.log"
            raise Unavailable(f"the supervisor ended: {last_line(log)}. {log} has the rest")
        stack = home.read_stack()
        _refuse_failing(stack, home, failures)
        ready = ready_workers(get_settings(), stack)
        for name in sorted(ready - reported):
            report(f"{name} is ready")
        reported |= ready
        if len(ready) >= workers:
            return stack
        time.sleep(0.2)
    log = home.logs / f"worker{workers}.log"
    raise Unavailable(f"not all workers are ready after {_UP_PATIENCE:.0f} s: {last_line(log)}. {home.logs} has the rest")


def _restarts(stack: dict[str, Any]) -> dict[str, int]:
    return {kept["name"]: kept["restarts"] for kept in stack.get("processes", ())}


def _refuse_failing(stack: dict[str, Any], home: Home, before: dict[str, int]) -> None:
    for name, restarts in _restarts(stack).items():
        if restarts - before.get(name, 0) >= 2:
            log = home.logs / f"{name}.log"
            raise Unavailable(f"{name} does not start: {last_line(log)}. {log} has the rest")


def down(settings: Settings, report: Report) -> bool:
    """Stop everything that belongs to this home and leave its data; return whether anything ran.

    Raises:
        Unavailable: something runs still, or somebody has begun to start the stack anew.
    """
    home, report = Home(settings.home), undisturbed(report)
    if not home.run.is_dir():
        return False
    with _file_errors_explained(home):
        supervisor, known = supervisor_of(home), {process.pid for process in holders(home.lock_file)}
        if supervisor is not None:
            report("asking the supervisor to stop: workers finish the step they are at")
            # It takes the workers and servers along, within their time; a supervisor that hangs is killed, and the rest done here.
            stop_processes({"the stack": supervisor}, report, ((0.0, 15), (_DOWN_PATIENCE, 9)))
        held = _held_after(home, known)
        try:
            ran = supervisor is not None or bool(home.read_stack()) or _runs(home)
            with signals_ignored():
                take_down(home, report)
        finally:
            if held is not None:
                os.close(held)
    return ran


def _held_after(home: Home, known: set[int]) -> int | None:
    """Return the home's lock, once those who had it are gone; None where there can be none, such as on a disk that was made read-only."""
    deadline = time.monotonic() + _DOWN_PATIENCE
    while True:
        try:
            held = home.lock()
        except OSError:
            return None
        if held is not None:
            return held
        others = {process.pid for process in holders(home.lock_file)} - known
        if others or time.monotonic() > deadline:
            raise Unavailable(f"another `tweetmill up` is at work on {home.path}: `tweetmill down` again stops what it starts")
        time.sleep(0.2)


def _runs(home: Home) -> bool:
    return bool(leftovers(home)) or any(server.process() is not None for server in servers_of(home).values())


def status(settings: Settings) -> dict[str, Any]:
    """Return how the stack is: servers, tables, workers, queues, Flower and disk. Never raises for a server that is away."""
    return health(settings, Home(settings.home))
