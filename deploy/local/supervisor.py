"""Supervise the workers and Flower: restart them when they fail, and stop them when this process ends.

    python -m deploy.local.supervisor --workers 2 --threads 1

`tweetmill up` runs it in the foreground, `tweetmill up -d` in a session of its own. It goes on whatever the disk or a file in `run/`
does to it: a step that fails is reported once, and tried again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import Any

import psutil

from deploy import flower
from deploy.environment import CODE, for_flower, for_worker, python
from deploy.local.finding import marked
from deploy.local.home import Home
from deploy.local.processes import Kept, find_process, note, stop
from deploy.local.ready import ready_workers
from deploy.local.servers import Postgres, Server, Valkey, last_line
from deploy.local.signals import SIGNALS
from deploy.local.steps import Report, Steps, undisturbed
from deploy.worker import worker_command
from schemas.payloads import Queue
from workers.errors import Unavailable, report_uncaught
from workers.file_permissions import UMASK, discard
from workers.settings import Settings, get_settings

ENDING = "ending"

_ROUND = 0.25


def servers_of(home: Home) -> dict[str, Server]:
    """Return the servers that a stack can have of its own, by the setting that holds their address."""
    return {"broker_url": Valkey(home), "database_url": Postgres(home)}


class Supervisor:
    """Keeps `workers` workers, Flower and the stack's own servers running until it is stopped."""

    def __init__(self, settings: Settings, home: Home, workers: int, threads: int, report: Report) -> None:
        self.settings = settings
        self.home = home
        self.report = undisturbed(report)
        ours = home.read_stack().get("settings", {})
        self.servers = [server for name, server in servers_of(home).items() if name in ours]
        self.flower_port = flower.free_port(settings.flower_port)
        self.threads = threads
        self.workers = [self._worker(number) for number in range(1, workers + 1)]
        flower_command = flower.command(settings, home, self.flower_port)
        self.kept = [*self.workers, self._keep_as("flower", flower_command, for_flower(home.path, "flower"))]
        self._steps = Steps(self.report)
        # What a later `up` and `status` read, should the file be lost while this runs.
        self._stack = home.read_stack()
        self._ended = threading.Event()
        self._rounds = 0
        self._announced = False
        self._flower_informed = False

    @property
    def staying(self) -> list[Kept]:
        """The workers that were not asked to leave."""
        return [worker for worker in self.workers if not worker.has_left]

    def _worker(self, number: int) -> Kept:
        name = f"worker{number}"
        # Workers share this machine's cores: threads that spin while they wait take them from the others.
        environment = for_worker(self.home.path, name) | {"TWEETMILL_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        kept = self._keep_as(name, worker_command(name, list(Queue)), environment)
        kept.may_leave = True
        return kept

    def _keep_as(self, name: str, command: Sequence[str], environment: dict[str, str]) -> Kept:
        log, record = self.home.logs / f"{name}.log", self.home.run / f"{name}.json"
        return Kept(name=name, command=command, environment=environment, folder=CODE, log=log, record=record)

    def run(self) -> None:
        """Supervise until SIGTERM, SIGHUP, SIGQUIT or Ctrl-C; then stop everything, servers last."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
                signal.signal(number, self._end_soon)
        self.home.take_requested_workers()  # one that an earlier supervisor did not hear
        try:
            while not self._ended.is_set():
                self._round()
                self._ended.wait(_ROUND)
        finally:
            self.end()

    def _end_soon(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._ended.set()

    def _round(self) -> None:
        if find_process(self.home.supervisor_file) is None:
            self._steps.attempt("supervisor.json", lambda: note(self.home.supervisor_file, os.getpid()))
        for server in self.servers:
            self._steps.attempt(server.name, partial(self._keep_server, server))
        self._add_requested_workers()
        changed = [kept for kept in self.kept if self._keep(kept)]
        self._steps.attempt("workers", self._announce)
        for kept in changed:
            if kept.process is not None:
                self.report(f"{kept.name} started (pid {kept.pid})")
            elif kept.has_left:
                self.report(f"{kept.name} left, as it was asked to: `tweetmill up` brings it back")
            else:
                self.report(f"{kept.name} ended: {last_line(kept.log)}")
        if changed:
            self._flower_informed = False
        if self._described() != self.home.read_stack():
            self._steps.attempt("stack.json", lambda: self.home.write_stack(self._described()))

    def _keep(self, kept: Kept) -> bool:
        changed: list[bool] = []
        self._steps.attempt(kept.name, lambda: changed.append(kept.keep()))
        if kept.process is not None and find_process(kept.record) is None:
            self._steps.attempt(kept.record.name, kept.write_down)
        return changed == [True]

    def _keep_server(self, server: Server) -> None:
        process = server.process()
        if process is None:
            self.report(f"{server.name} stopped: starting it again")
            server.start()
        elif find_process(server.record) is None:
            self._steps.attempt(server.record.name, lambda: note(server.record, process.pid))

    def _add_requested_workers(self) -> None:
        """Bring back workers that left, and add new ones, until there are as many as a later `up` asks for."""
        wanted = self.home.take_requested_workers()
        if wanted is None:
            return
        for worker in self.workers:
            if worker.has_left and len(self.staying) < wanted:
                worker.bring_back()
        while len(self.staying) < wanted:
            self.workers.append(self._worker(len(self.workers) + 1))
            self.kept.append(self.workers[-1])
        self._announced = False

    def _announce(self) -> None:
        """Report once that all workers are ready; looked at every second until they are."""
        self._rounds += 1
        if self._rounds % 4:
            return
        if self._announced:
            self._inform_flower()
            return
        if 0 < len(self.staying) == len(ready_workers(self.settings, self._described())):
            self._announced = True
            self.report(f"ready; Flower: http://127.0.0.1:{self.flower_port}, password in {flower.password_file(self.settings, self.home)}")

    def _inform_flower(self) -> None:
        """Have Flower ask for the workers once more: it asks when it starts, before they are ready."""
        if not self._flower_informed:
            self._flower_informed = flower.ask_for_workers(self.settings, self.home, self.flower_port) >= len(self.staying)

    def _described(self) -> dict[str, Any]:
        processes = [{"name": kept.name, "pid": kept.pid, "restarts": kept.restarts, "left": kept.has_left} for kept in self.kept]
        described = {"processes": processes, "flower": f"http://127.0.0.1:{self.flower_port}"}
        return self._stack | described | {"supervisor": os.getpid(), "workers": len(self.staying)}

    def end(self) -> None:
        """Stop everything that belongs to this home."""
        for number in SIGNALS:
            signal.signal(number, self._end_soon)  # once is enough
        with contextlib.suppress(OSError):
            self.home.write_stack(self._described() | {ENDING: True})
        take_down(self.home, self.report)


def leftovers(home: Home) -> dict[str, psutil.Process]:
    """Return the live workers and Flower of this home, whoever started them, whether or not they are on record."""
    servers = {server.name for server in servers_of(home).values()}
    recorded = {path.stem: find_process(path) for path in sorted(home.run.glob("*.json")) if path.stem.startswith(("worker", "flower"))}
    by_mark = {name: process for name, process in marked(home.path).items() if name not in servers and not name.startswith("supervisor")}
    known = {process.pid for process in by_mark.values()}
    return by_mark | {name: process for name, process in recorded.items() if process is not None and process.pid not in known}


def take_down(home: Home, report: Report) -> None:
    """Stop workers and Flower, then the servers; the data stay.

    Raises:
        Unavailable: something runs still.
    """
    stop_children(home, report)
    for server in servers_of(home).values():
        if server.process() is not None:
            report(f"stopping {server.name}")
            server.stop()
    for record in (home.stack_file, home.supervisor_file):
        discard(record)
    home.forget_sockets()
    running = leftovers(home) | {server.name: process for server in servers_of(home).values() if (process := server.process()) is not None}
    if running:
        named = ", ".join(f"{name} (process {process.pid})" for name, process in running.items())
        raise Unavailable(f"still running, and not to be stopped: {named}")


def stop_children(home: Home, report: Report) -> None:
    """Stop workers and Flower; workers may finish the step that they are at."""
    left = leftovers(home)
    if left:
        report(f"stopping {', '.join(left)}")
        stop(left, report)
    for record in home.run.glob("worker*.json"):
        discard(record)
    discard(home.run / "flower.json")


def supervisor_command(workers: int, threads: int) -> list[str]:
    """Return the command that starts this module as a process."""
    return python("-m", "deploy.local.supervisor", "--workers", str(workers), "--threads", str(threads))


def main(arguments: Any = None) -> None:
    """Supervise until a signal or `tweetmill down` stops it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args(arguments)
    sys.excepthook = report_uncaught
    os.umask(UMASK)
    settings = get_settings()
    home = Home(settings.home)
    Supervisor(settings, home, options.workers, options.threads, _log).run()


def _log(message: str) -> None:
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
