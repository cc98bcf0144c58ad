"""Ranks on two nodes, each with a supervisor and a folder of its own: they meet, and none outlives those of the other node."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ranks import Run, a_spec, alive, wait_for, write_train_file
from workers.processes import command_line, descendants
from workers.training.launcher.network import port_to_listen_on
from workers.training.protocol.outcome import TrainingFailed
from workers.training.protocol.payload import Meeting
from workers.training.protocol.progress import Start

pytestmark = pytest.mark.spread


@pytest.mark.fault(41)
@pytest.mark.parametrize(("role", "node"), [("agent", 0), ("rank", 1)])
def test_two_agents_meet_and_the_end_of_either_is_the_end_of_both(
    role: str, node: int, base: Path, tmp_path: Path, measured: Callable[..., None]
) -> None:
    runs = both_nodes(base, tmp_path, max_steps=100_000)
    wait_for(lambda: len(runs[0].steps) >= 2 or any(run.outcome for run in runs), 200)
    start = runs[0].events[0]
    assert isinstance(start, Start), (runs[0].outcome, runs[1].outcome)
    assert (start.world_size, start.backend) == (2, "gloo")
    assert runs[1].events == [], "rank 0 alone writes"
    processes = {run: of(run) for run in runs}

    victim = next(pid for pid, kind in processes[runs[node]].items() if kind == role)
    kill(victim)

    for run in runs:
        assert isinstance(run.end(), TrainingFailed)
        assert alive(list(processes[run])) == []
    measured(killed=f"{role} of node {node}", processes_left=0)


def both_nodes(base: Path, folder: Path, **changes: object) -> list[Run]:
    id_, port = uuid.uuid4().hex, port_to_listen_on()
    runs = []
    for node in (0, 1):
        home = folder / f"home-{node}"
        home.mkdir()
        meeting = Meeting(id=id_, node=node, address="127.0.0.1", port=port, interface="lo")
        spec = a_spec(base, nodes=2, world_size=2, **changes)
        runs.append(Run(spec, write_train_file(home / "train.jsonl"), home / "run", meeting=meeting))
    return runs


def of(run: Run) -> dict[int, str]:
    """The living processes of one node, with what each is."""

    marks = {"launcher.supervisor": "supervisor", "distributed.run": "agent", "training.rank": "rank"}
    found = {}
    for pid in descendants(os.getpid()):
        command = command_line(pid)
        if str(run.payload.run_folder) in command:
            found[pid] = next(kind for mark, kind in marks.items() if mark in command)
    return found


def kill(pid: int) -> None:

    os.kill(pid, signal.SIGKILL)
