"""A real Celery worker in a process of its own, for tests that kill it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether `condition` comes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


class WorkerProcess:
    """One worker, with the environment of this process and what is added to it; `within` is a command that runs it elsewhere."""

    def __init__(
        self, name: str, queues: str, folder: Path, app: str = "workers.app", within: Sequence[str] = (), **environment: str
    ) -> None:
        self.name = f"{name}@test"
        self.log_file = folder / f"{name}.log"
        quick = {"TWEETMILL_LEASE": "4", "TWEETMILL_HEARTBEAT": "0.5", "TWEETMILL_UPKEEP_INTERVAL": "0.3", "TWEETMILL_REPUBLISH_AFTER": "2"}
        own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TWEETMILL_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", self.name, "-Q", queues]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*within, *command, "--without-gossip", "--without-mingle"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **quick, **own, **environment},
            )

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self.log_file.read_text(errors="replace")

    def is_ready(self) -> bool:
        """Whether it takes messages."""
        return " ready." in self.log

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the main process."""
        self.process.send_signal(number)

    def kill_all(self) -> None:
        """End it and its pool with SIGKILL, as a power cut would."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        self.process.kill()
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(timeout=10)

    def exit_code(self, seconds: float = 120) -> int:
        """Its exit code, when it ends within `seconds`; otherwise the failure tells what it wrote, and where each of its threads stood."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            whole = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
            for process in whole:
                process.send_signal(signal.SIGABRT)
            psutil.wait_procs(whole[1:], timeout=5)
            self.kill_all()
            raise AssertionError(f"{self.name} still ran after {seconds} s:\n{self.log}") from None
