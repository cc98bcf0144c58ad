"""What a training leaves in Postgres: checkpoints under the fence, two of them kept, and nothing lost while Postgres is away."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support import jobs
from workers import clock
from workers.errors import LeaseLost
from workers.jobs.attempt import Attempt
from workers.jobs.maintenance import reap
from workers.settings import get_settings
from workers.training.protocol import checkpoints
from workers.training.protocol.manifest import EvaluationState, Manifest
from workers.training.protocol.progress import CheckpointWritten, Evaluated, ProgressWriter, Step
from workers.training.recorder import Recorder, attempt_folder

IDENTITY = "this training"


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


@pytest.fixture
def job(engine: Engine) -> uuid.UUID:
    return jobs.add(engine)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def attempted(engine: Engine, job: uuid.UUID) -> Attempt:
    return Attempt(jobs.claimed(engine, job), "worker@here", 10.0, asked=clock.now())


def take_away(engine: Engine, job: uuid.UUID) -> None:
    """Its worker is taken for dead."""
    jobs.expire(engine, job)
    with engine.begin() as connection:
        assert reap(connection) == [job]


def on_disk(folder: Path, step: int, attempt: int = 1, best: int = 0) -> CheckpointWritten:
    """A checkpoint as the ranks leave it, and what they say of it. Its manifest says that the step `best` of attempt 1 was the best."""
    about = {"world_size": 2, "zero_stage": 2}
    manifest = Manifest(identity=IDENTITY, step=step, attempt=attempt, global_batch=16, tokens=1, seconds=1.0, optimizer_step=step, **about)
    if best:
        manifest = manifest.model_copy(update={"evaluation": EvaluationState(best_folder=f"step-{best:06}-a1")})
    stored = checkpoints.write(folder, manifest, {"weight.safetensors": lambda out: out.write(b"w" * 100)})
    told = {"folder": stored.folder.name, "manifest_sha256": stored.manifest_sha256, "bytes": stored.bytes, "seconds": 0.1}
    return CheckpointWritten(step=step, attempt=attempt, best=best == step, **about, **told)


def a_step(number: int) -> Step:
    return Step(step=number, loss=1.0 / number, tokens_per_second=9.0, eta_seconds=1.0, learning_rate=1e-4)


def rows(engine: Engine) -> dict[str, bool]:
    """Whether each recorded checkpoint is still there."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT folder, removed_at IS NULL AS kept FROM checkpoint ORDER BY step, attempt"))
        return {Path(row.folder).name: row.kept for row in found}


def numbers(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT step FROM metric WHERE name = 'loss' ORDER BY step")).scalars())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_is_recorded_at_once_with_the_numbers_before_it(engine, job, folder):
    recorder = Recorder(attempted(engine, job), folder)

    recorder.record(a_step(1))
    assert numbers(engine) == [], "held back: one statement for many"
    recorder.record(on_disk(folder, 2))

    assert rows(engine) == {"step-000002-a1": True}
    assert numbers(engine) == [1]


def test_the_newest_two_are_kept(engine, job, folder):
    recorder = Recorder(attempted(engine, job), folder)

    for step in (10, 20, 30, 40):
        recorder.record(on_disk(folder, step))

    assert rows(engine) == {"step-000010-a1": False, "step-000020-a1": False, "step-000030-a1": True, "step-000040-a1": True}
    assert names(folder) == ["step-000030-a1", "step-000040-a1"]


def test_the_best_is_kept_beside_them_until_another_is_better(engine, job, folder):
    recorder = Recorder(attempted(engine, job), folder)

    for step in (10, 20, 30, 40):
        recorder.record(on_disk(folder, step, best=10))
    assert names(folder) == ["step-000010-a1", "step-000030-a1", "step-000040-a1"]
    take_away(engine, job)
    heir = Recorder(attempted(engine, job), folder)
    heir.choose(IDENTITY)
    heir.record(on_disk(folder, 50, attempt=2, best=10))
    assert names(folder) == ["step-000010-a1", "step-000040-a1", "step-000050-a2"]
    heir.record(on_disk(folder, 60, attempt=2, best=60))

    assert names(folder) == ["step-000050-a2", "step-000060-a2"]


def test_evaluations_are_stored_at_once_under_their_names(engine, job, folder):
    recorder = Recorder(attempted(engine, job), folder)

    recorder.record(Evaluated(step=4, rows=7, eval_loss=2.0, eval_sari=40.0, baselines={"lead": 30.0}))

    with engine.connect() as connection:
        found = connection.execute(text("SELECT name, value FROM metric WHERE step = 4 ORDER BY name")).all()
    assert list(map(tuple, found)) == [("eval_loss", 2.0), ("eval_sari", 40.0), ("eval_sari_lead", 30.0)]
    assert "step 4, 7 rows held back: loss 2, SARI 40.0 (lead 30.0)" in logged(engine)


def test_an_attempt_that_lost_its_job_records_and_removes_nothing(engine, job, folder):
    zombie = Recorder(attempted(engine, job), folder)
    zombie.record(on_disk(folder, 10))
    zombie.record(on_disk(folder, 20))
    late = on_disk(folder, 30)
    take_away(engine, job)
    heir = Recorder(attempted(engine, job), folder)
    assert heir.choose(IDENTITY).folder.name == "step-000030-a1"
    heir.record(on_disk(folder, 40, attempt=2))

    with pytest.raises(LeaseLost):
        zombie.record(late)

    assert names(folder) == ["step-000030-a1", "step-000040-a2"]
    assert rows(engine) == {"step-000010-a1": False, "step-000020-a1": False, "step-000030-a1": True, "step-000040-a2": True}


def test_a_choice_brings_in_what_the_dead_had_not_told_yet(engine, job, folder):
    attempted(engine, job)
    on_disk(folder, 3)
    dead = folder.parent / attempt_folder(1)
    dead.mkdir()
    writer = ProgressWriter(dead)
    for step in (1, 2, 3, 4):
        writer.write(a_step(step))
    take_away(engine, job)

    chosen = Recorder(attempted(engine, job), folder).choose(IDENTITY)

    assert chosen.manifest.step == 3
    assert rows(engine) == {"step-000003-a1": True}
    assert numbers(engine) == [1, 2, 3], "step 4 will be made again"


def test_what_was_refused_does_not_count_among_the_two(engine, job, folder):
    first = Recorder(attempted(engine, job), folder)
    for step in (10, 20):
        first.record(on_disk(folder, step))
    (folder / "step-000020-a1" / "weight.safetensors").write_bytes(b"v" * 100)
    take_away(engine, job)
    heir = Recorder(attempted(engine, job), folder)

    assert heir.choose(IDENTITY).folder.name == "step-000010-a1"
    heir.record(on_disk(folder, 15, attempt=2))

    assert names(folder) == ["step-000010-a1", "step-000015-a2"]
    assert rows(engine) == {"step-000010-a1": True, "step-000015-a2": True, "step-000020-a1": False}
    assert any("refused checkpoint step-000020-a1" in line for line in logged(engine))


def logged(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT detail FROM job_event WHERE event = 'log'")).scalars())


def test_a_node_without_the_files_starts_anew_and_says_why(engine, job, folder):
    Recorder(attempted(engine, job), folder).record(on_disk(folder, 10))
    take_away(engine, job)

    elsewhere = Recorder(attempted(engine, job), folder.parent / "elsewhere" / "checkpoints")

    assert elsewhere.choose(IDENTITY) is None
    assert any("not in this node's folder of runs" in line for line in logged(engine))


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Lets Postgres be away and back."""
    with pytest.MonkeyPatch.context() as environment:

        def leave() -> None:
            environment.setenv("DATABASE_URL", "postgresql://tweetmill@127.0.0.1:9/none")
            get_settings.cache_clear()

        def come_back() -> None:
            environment.undo()
            get_settings.cache_clear()

        yield leave, come_back
    get_settings.cache_clear()


@pytest.mark.fault(21)
def test_while_postgres_is_away_numbers_and_checkpoints_wait(engine, job, folder, unreachable, monkeypatch, measured):
    monkeypatch.setattr("workers.training.recorder._AFTER_OUTAGE", 0.0)
    leave, come_back = unreachable
    recorder = Recorder(attempted(engine, job), folder)

    leave()
    for step in range(1, 41):
        recorder.record(a_step(step))
    recorder.record(on_disk(folder, 40))
    come_back()
    recorder.record(on_disk(folder, 50))

    assert rows(engine) == {"step-000040-a1": True, "step-000050-a1": True}
    measured(lost_numbers=40 - len(numbers(engine)), lost_checkpoints=0)
    assert numbers(engine) == list(range(1, 41))
