"""A training that needs a GPU leaves a worker without one, and one that can't fit into memory is refused before ranks start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from schemas.training import TrainingSpec
from tests.support import jobs
from workers import clock
from workers.errors import Busy, UserError
from workers.estimates import machine
from workers.jobs import ledger, worker_registry
from workers.jobs.attempt import Attempt
from workers.settings import get_settings
from workers.training import devices

SPEC = TrainingSpec(name="m", base="b", dataset="d", device="cuda")


@pytest.fixture
def attempt(clean_database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """An attempt on a worker that has no GPU."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho No devices found.\n")
    (tmp_path / "nvidia-smi").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    claim = jobs.claimed(clean_database, jobs.add(clean_database))
    register(clean_database, "cpu@here", "training")
    return Attempt(claim, "cpu@here", 10.0, asked=clock.now())


def register(engine: Engine, name: str, *queues: str) -> None:
    with engine.begin() as connection:
        worker_registry.register(connection, name, queues, 1)


def test_alone_it_says_at_once_what_to_do(clean_database: Engine, attempt: Attempt) -> None:
    register(clean_database, "other@here", "summarization")
    with pytest.raises(UserError, match=r"this worker sees no GPU. Set device: cpu .* `tweetmill worker --queues training --gpu 0`"):
        devices.check_devices(attempt, SPEC)


def test_beside_another_that_trains_it_gives_the_job_back(clean_database: Engine, attempt: Attempt) -> None:
    register(clean_database, "gpu@there", "training")
    with pytest.raises(Busy, match="this worker sees no GPU: left for gpu@there"):
        devices.check_devices(attempt, SPEC)


def test_it_waits_for_a_worker_that_is_busy_and_fails_when_all_have_said_that_they_lack_it(
    clean_database: Engine, attempt: Attempt
) -> None:
    register(clean_database, "gpu@there", "training")

    def give_back(again: Attempt, reason: str) -> Attempt:
        with clean_database.begin() as connection:
            ledger.release(connection, again.claim, reason)
        return Attempt(jobs.claimed(clean_database, again.job, "gpu@there"), "gpu@there", 10.0, asked=clock.now())

    there = give_back(attempt, "this worker sees no GPU: left for gpu@there")
    back = give_back(there, "GPU 0 is held by process 7")
    for _ in range(12):  # however often: the other one has what it needs, and no time
        here = Attempt(back.claim, "cpu@here", 10.0, asked=clock.now())
        with pytest.raises(Busy, match="left for gpu@there"):
            devices.check_devices(here, SPEC)
        back = give_back(back, "this GPU is held")
    back = give_back(back, "this worker sees no GPU: left for cpu@here")
    with pytest.raises(UserError, match=r"sees no GPU \(and neither do the others that take trainings: gpu@there\)"):
        devices.check_devices(Attempt(back.claim, "cpu@here", 10.0, asked=clock.now()), SPEC)


def test_a_recipe_for_any_device_is_taken(attempt: Attempt) -> None:
    devices.check_devices(attempt, SPEC.model_copy(update={"device": "auto"}))


LARGE = Path(__file__).parents[2] / "support" / "configs" / "llama-3.1-8b"


def test_what_can_not_fit_is_refused_and_a_setting_lets_it_try(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "host_memory", lambda: 16 * 2**30)
    spec = SPEC.model_copy(update={"device": "cpu", "method": "full"})
    with pytest.raises(UserError, match=r"does not fit into memory: .* GiB a rank are needed and CPU has 16\.0; what fits: .*method=qlora"):
        devices.check_memory(attempt, spec, LARGE)

    monkeypatch.setattr(get_settings(), "check_memory", False)
    devices.check_memory(attempt, spec, LARGE)


def test_what_only_fits_in_smaller_micro_batches_is_logged(
    clean_database: Engine, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "host_memory", lambda: 40 * 2**30)
    spec = SPEC.model_copy(update={"device": "cpu", "per_device_train_batch_size": 64})
    devices.check_memory(attempt, spec, LARGE)
    with clean_database.connect() as connection:
        logged = connection.execute(text("SELECT detail FROM job_event WHERE event = 'log'")).scalars().all()
    assert [line for line in logged if "the micro-batch is halved if need be; what fits: " in line]


def test_a_base_that_is_still_on_the_hub_is_left_to_the_ranks(attempt: Attempt) -> None:
    devices.check_memory(attempt, SPEC, Path("meta-llama/Llama-3.1-8B-Instruct"))
