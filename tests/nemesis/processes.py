"""Find the processes below the workers of a storm by a mark in the environment, which children inherit in any session."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from workers.processes import all_pids, command_line, environment, started

MARK = "NEMESIS_WORKER"
# The first that fits: the launcher's command names the rank's module, too.
_ROLES = (
    ("launcher", "torch.distributed.run"),
    ("rank", "workers.training.rank.main"),
    ("supervisor", "workers.training.launcher.supervisor"),
    ("tracker", "semaphore_tracker"),
    ("tracker", "resource_tracker"),
    ("child", "spawn_main"),
    ("child", "billiard"),
    ("main", "celery"),
)
_RUN = re.compile(r"/runs/([0-9a-f-]{36})/.*?(\d+)")


@dataclass(frozen=True)
class Found:
    """A live process of a worker.

    Attributes:
        pid: its id.
        started: when, in clock ticks since boot: with the pid it names a process for ever.
        worker: the worker's name and incarnation, such as `w1#3`.
        role: main, child, supervisor, launcher, rank, tracker or other.
        run: job and attempt of a rank, `JOB/ATTEMPT`; empty for others.
        device: what `CUDA_VISIBLE_DEVICES` of its worker says.
    """

    pid: int
    started: int
    worker: str
    role: str
    run: str = ""
    device: str = ""


class Census:
    """Looks at /proc. What can't change is remembered, so that looking five times a second costs little."""

    def __init__(self, storm: str) -> None:
        self._storm = storm
        self._known: dict[tuple[int, int], tuple[str, str] | None] = {}

    def take(self) -> list[Found]:
        """The marked processes that lived at one and the same moment: each was seen before and after that moment."""
        found = [one for one in map(self._look, all_pids()) if one is not None]
        return [one for one in found if started(one.pid) == one.started]

    def _look(self, pid: int) -> Found | None:
        begun = started(pid)
        if begun is None:
            return None
        name = (pid, begun)
        if name not in self._known:
            self._known[name] = self._marked(pid)
        marked = self._known[name]
        if marked is None:
            return None
        worker, device = marked
        command = command_line(pid)
        role = role_of(command)
        run = _RUN.search(command) if role == "rank" else None
        return Found(pid, begun, worker, role, f"{run[1]}/{run[2]}" if run else "", device)

    def _marked(self, pid: int) -> tuple[str, str] | None:
        variables = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in environment(pid).items()}
        storm, _, worker = variables.get(MARK, "").partition(":")
        return (worker, variables.get("CUDA_VISIBLE_DEVICES", "")) if storm == self._storm and worker else None


def lock_takers(folder: Path) -> dict[str, list[int]]:
    """Who took the locks of the GPUs: process ids by the name of the lock's file, as the kernel tells."""
    files = {file.stat().st_ino: file.stem for file in folder.glob("*/gpu-*.lock")} if folder.exists() else {}
    takers: dict[str, list[int]] = {}
    for line in Path("/proc/locks").read_text().splitlines() if files else []:
        words = line.split()
        if "FLOCK" in words and words[1] != "->" and int(words[5].rpartition(":")[2]) in files:
            takers.setdefault(files[int(words[5].rpartition(":")[2])], []).append(int(words[4]))
    return takers


def role_of(command: str) -> str:
    """What a process is, by its command line."""
    return next((role for role, sign in _ROLES if sign in command), "other")
