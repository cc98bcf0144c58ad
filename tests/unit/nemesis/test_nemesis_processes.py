"""The storm tells the processes of a worker apart by their commands."""

from __future__ import annotations

import pytest

from tests.nemesis.processes import role_of


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("python -m celery -A tests.support.work:app worker -n w1@test", "main"),
        ("python -c from billiard.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7) --multiprocessing-fork", "child"),
        ("python -c from billiard.semaphore_tracker import main;main(4)", "tracker"),
        ("python -m workers.training.launcher.supervisor /home/runs/j/attempt-1/payload.json 17", "supervisor"),
        (
            "python -m torch.distributed.run --nproc_per_node 2 -m workers.training.rank.main /home/runs/j/attempt-1/payload.json",
            "launcher",
        ),
        ("python -u -m workers.training.rank.main /home/runs/j/attempt-1/payload.json", "rank"),
        ("sleep 5", "other"),
    ],
)
def test_each_command_has_its_role(command: str, role: str):
    assert role_of(command) == role
