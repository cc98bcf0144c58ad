"""Starts the supervisor of a worker's servers, and looks after it: from the worker's main process, before it takes a job."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from workers.errors import SettingsError
from workers.file_permissions import make_private
from workers.gpus import driver
from workers.gpus.environment import for_computing, for_serving
from workers.inference.served import sockets
from workers.inference.served.process import sweep
from workers.inference.served.program import Patience, Program, Task
from workers.settings import ENVIRONMENT, Settings

logger = logging.getLogger(__name__)


def task_of(settings: Settings, program: Program, folder: Path) -> Task:
    """Return what the supervisor of a worker with these settings does.

    Raises:
        SettingsError: the settings ask for a GPU, and there is none.
        Unavailable: the driver does not answer.
    """
    devices = () if settings.device == "cpu" or not program.on_gpu else driver.usable_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES"))
    if settings.device == "cuda" and not devices:
        raise SettingsError("TWEETMILL_DEVICE=cuda, and this worker sees no GPU: `nvidia-smi -L` and CUDA_VISIBLE_DEVICES tell which")
    patience = Patience(start=settings.server_start, hang=settings.server_hang, idle=settings.engine_idle)
    logs = make_private(settings.home / "logs")
    return Task(program, patience, devices, str(folder), str(logs), str(settings.locks_folder), for_serving())


class Launched:
    """A supervisor that runs, as a child of this process.

    It must be started by the main thread: the kernel tells the child of the death of the thread that started it.

    Args:
        task: of it.
        on_end: called, in another thread, when it ends though nobody stopped it.
    """

    def __init__(self, task: Task, on_end: Callable[[], None]) -> None:
        self._worker = os.getpid()
        self._on_end = on_end
        self._is_stopping = False
        command = [sys.executable, "-m", "workers.inference.served.main", str(self._worker)]
        # In a session of its own: Ctrl-C is for the worker, whose jobs may need their server to the end.
        self._child = subprocess.Popen(command, env=for_computing(), stdin=subprocess.PIPE, start_new_session=True)
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._child.stdin as told:
            told.write(task.encoded().encode())
        self._patience = task.patience.stop
        threading.Thread(target=self._watch, name="servers", daemon=True).start()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._child.pid

    def _watch(self) -> None:
        code = self._child.wait()
        sweep(self._worker)
        if not self._is_stopping:
            logger.error("the supervisor of the servers ended with exit code %d, as the lines above say: this worker ends", code)
            self._on_end()

    def stop(self) -> None:
        """End it and its servers."""
        self._is_stopping = True
        self._child.terminate()
        try:
            self._child.wait(self._patience + 15)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        sweep(self._worker)


def start(settings: Settings, program: Program, on_end: Callable[[], None]) -> Launched:
    """Start the supervisor of this process's servers.

    Raises:
        SettingsError: the settings ask for a GPU, and there is none, or there is no place for sockets.
        Unavailable: the driver does not answer.
    """
    return Launched(task_of(settings, program, sockets.prepare(settings.home, os.getpid())), on_end)
