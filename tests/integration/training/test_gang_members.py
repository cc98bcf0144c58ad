"""The nodes of a training in the ledger: members follow their leader, nobody waits for ever, and two gangs do not block each other."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from schemas.training import GangMember, TrainingSpec
from tasks import training
from tests.support import jobs
from tests.support.tiny_model import build_tiny_model
from tests.support.trainings import FINGERPRINT, add_dataset
from tests.support.worker_process import wait_for
from workers.errors import SettingsError
from workers.jobs import attempt, fanout, ledger, maintenance
from workers.jobs.context import JobContext, Outcome
from workers.settings import get_settings
from workers.training import examples, gang, member
from workers.training.job import train
from workers.training.launcher import network
from workers.training.protocol.outcome import TrainingStopped
from workers.training.protocol.payload import RunPayload

Seen = list[RunPayload]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def engine(clean_database: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    add_dataset(clean_database, examples=4)
    monkeypatch.setenv("TWEETMILL_LEASE", "2")
    monkeypatch.setenv("TWEETMILL_HEARTBEAT", "0.2")
    monkeypatch.setenv("TWEETMILL_GANG_WAIT", "0.5")
    get_settings.cache_clear()
    yield clean_database
    get_settings.cache_clear()


def enqueue(base: Path, name: str = "tuned", nodes: int = 2) -> uuid.UUID:
    spec = TrainingSpec(name=name, base=str(base), dataset="small", nodes=nodes, world_size=nodes)
    return training.enqueue(spec, dataset_fingerprint=FINGERPRINT).job


def members(engine: Engine, job: uuid.UUID) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM job WHERE parent = :job ORDER BY id"), {"job": job}).all())


def lead(job: uuid.UUID, body: Callable[[RunPayload, gang.ShouldStop], None], owner: str = "leader@here") -> threading.Thread:
    """A leader in a thread: it gathers its members as a training does, and does `body` where that launches ranks."""

    def work(held: JobContext, spec: TrainingSpec) -> Outcome:
        folder = get_settings().runs_folder / str(held.job) / f"attempt-{held.number}"
        folder.mkdir(parents=True)
        run = RunPayload(spec=spec, train_file=folder / "train.jsonl", run_folder=folder, base_sha256="", attempt=held.number)
        examples.write(spec, folder)
        run = run.model_copy(update={"base_sha256": member.base_sha256(Path(spec.base))})
        with gang.gathered(held, run) as (run, should_stop):
            body(run, should_stop)
        return Outcome()

    thread = threading.Thread(target=attempt.run, args=(str(job), owner, TrainingSpec, work))
    thread.start()
    return thread


def follow(job: uuid.UUID, owner: str = "member@here") -> threading.Thread:
    """A member in a thread, as the task runs it."""
    thread = threading.Thread(target=attempt.run, args=(str(job), owner, GangMember, member.serve))
    thread.start()
    return thread


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    assert wait_for(condition, seconds)


def nothing(_: RunPayload, __: gang.ShouldStop) -> None:
    return


def test_a_training_on_three_nodes_is_a_job_and_two_members_whichever_way_it_is_asked_twice(engine: Engine, base: Path) -> None:
    job = enqueue(base, nodes=3)
    assert enqueue(base, nodes=3) == job
    found = members(engine, job)
    assert [(row.kind, row.queue, row.state, row.payload["node"]) for row in found] == [
        ("training.member", "training", "queued", 1),
        ("training.member", "training", "queued", 2),
    ]
    assert all(job < row.id for row in found), "rows are locked in the order of ids, the leader's first"


def test_a_job_shows_who_has_which_node(engine: Engine, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = enqueue(base, nodes=3)
    jobs.claimed(engine, job, "w0@here")
    jobs.claimed(engine, members(engine, job)[0].id, "w1@there")
    assert main(["job", str(job), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(one["node"], one["state"], one["worker"]) for one in shown["members"]] == [(1, "running", "w1@there"), (2, "queued", None)]
    assert shown["shards"] == {}
    assert main(["job", str(job)]) == 0
    page = capsys.readouterr().out
    assert "w1@there, lease until" in page
    assert "waits for a worker" in page


def test_a_member_without_a_call_ends_and_the_call_queues_it_again(engine: Engine, base: Path) -> None:
    job = enqueue(base)
    follow(members(engine, job)[0].id).join()
    assert members(engine, job)[0].state == "cancelled"

    leader = lead(job, nothing)
    until(lambda: members(engine, job)[0].state == "queued")
    assert jobs.events(engine, members(engine, job)[0].id)[-1] == "called"
    leader.join()


def test_workers_that_do_not_come_are_waited_for_a_while_and_no_failure_is_counted(engine: Engine, base: Path) -> None:
    job = enqueue(base, nodes=3)
    lead(job, nothing).join()
    row = jobs.row(engine, job)
    assert (row.state, row.failures, row.preemptions) == ("queued", 0, 1)
    assert [each.state for each in members(engine, job)] == ["cancelled", "cancelled"], "no worker waits for a leader that gave up"
    with engine.connect() as connection:
        said = connection.execute(text("SELECT detail FROM job_event WHERE event = 'released'")).scalar_one()
    assert said.startswith("1 of 3 workers came within 2 s: start more training workers, or lower nodes")


def test_a_later_training_makes_way_for_an_earlier_one_that_waits(engine: Engine, base: Path) -> None:
    earlier, later = enqueue(base, "earlier"), enqueue(base, "later")
    first = lead(earlier, nothing, "w1@here")
    until(lambda: jobs.row(engine, earlier).progress.get("gang") is not None)
    lead(later, nothing, "w2@here").join()
    assert jobs.state(engine, earlier) == "running"
    assert jobs.state(engine, later) == "queued"
    with engine.connect() as connection:
        said = connection.execute(text("SELECT detail FROM job_event WHERE event = 'released' AND job = :job"), {"job": later}).scalar_one()
    assert said == "an earlier training waits for workers too, and goes first"
    first.join()


def test_a_member_that_does_not_see_the_leaders_files_is_told_and_so_is_the_user(
    engine: Engine, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = enqueue(base)
    elsewhere = get_settings().model_copy(update={"runs": tmp_path})
    monkeypatch.setattr(member, "get_settings", lambda: elsewhere)
    monkeypatch.setattr(member, "_PLAN_SECONDS", 0.2)
    leader = lead(job, nothing)
    until(lambda: jobs.row(engine, job).progress.get("gang") is not None)
    follow(members(engine, job)[0].id).join()
    leader.join()
    row = jobs.row(engine, job)
    assert (row.state, row.error["class"]) == ("failed", "UserError")
    assert "mount it, and set TWEETMILL_RUNS to it on each" in row.error["message"]
    assert row.error["message"].startswith("node 1, worker member@here: ")


def test_a_member_that_is_lost_ends_the_ranks_and_counts_one_failure(engine: Engine, base: Path) -> None:
    job = enqueue(base)
    stopped: list[str | None] = []

    def ranks(run: RunPayload, should_stop: gang.ShouldStop) -> None:
        assert run.meeting is not None
        assert run.meeting.node == 0
        jobs.expire(engine, members(engine, job)[0].id)
        with engine.begin() as connection:
            maintenance.reap(connection)
        until(lambda: should_stop() is not None)
        stopped.append(should_stop())
        raise TrainingStopped("broken")

    leader = lead(job, ranks)
    until(lambda: jobs.row(engine, job).progress.get("gang") is not None)
    joined(engine, job)
    leader.join()
    row = jobs.row(engine, job)
    assert stopped == ["broken"]
    assert (row.state, row.failures, row.error["class"]) == ("queued", 1, "TrainingFailed")
    assert "node 1 is lost: worker zombie@here does not hold it any more" in row.error["message"]


def test_a_member_whose_worker_leaves_has_the_ranks_leave_too(engine: Engine, base: Path) -> None:
    job = enqueue(base)
    stopped: list[str | None] = []

    def ranks(_: RunPayload, should_stop: gang.ShouldStop) -> None:
        assert should_stop() is None
        jobs.alter(engine, members(engine, job)[0].id, "orders = 'drain'")
        until(lambda: should_stop() is not None)
        stopped.append(should_stop())

    leader = lead(job, ranks)
    until(lambda: jobs.row(engine, job).progress.get("gang") is not None)
    joined(engine, job)
    leader.join()
    assert stopped == ["drain"]


def test_a_member_that_has_left_as_asked_before_the_leader_looks_is_not_lost(engine: Engine, base: Path) -> None:
    job = enqueue(base)
    stopped: list[str | None] = []
    held: list[ledger.Claim] = []

    def ranks(_: RunPayload, should_stop: gang.ShouldStop) -> None:
        until(lambda: bool(held))
        assert should_stop() is None
        with engine.begin() as connection:
            ledger.release(connection, held[0])
        until(lambda: should_stop() is not None)
        stopped.append(should_stop())

    leader = lead(job, ranks)
    until(lambda: jobs.row(engine, job).progress.get("gang") is not None)
    held.append(joined(engine, job))
    leader.join()
    assert stopped == ["drain"]


def test_what_an_earlier_attempt_of_a_member_said_does_not_count(engine: Engine, base: Path) -> None:
    job = enqueue(base)
    started: list[RunPayload] = []
    leader = lead(job, lambda run, _: started.append(run))
    until(lambda: jobs.row(engine, job).progress.get("gang") is not None)
    one = members(engine, job)[0].id
    joined(engine, job, attempt=7)
    time.sleep(1)
    assert started == []
    jobs.alter(engine, one, "attempt = 7")
    leader.join()
    assert len(started) == 1


def test_a_cancel_or_retry_of_a_member_is_one_of_all(engine: Engine, base: Path) -> None:
    job = enqueue(base, nodes=3)
    with engine.begin() as connection:
        assert fanout.cancel(connection, members(engine, job)[1].id) == 3
    assert {jobs.state(engine, job), *(row.state for row in members(engine, job))} == {"cancelled"}
    with engine.begin() as connection:
        assert len(fanout.retry(connection, fanout.RETRIABLE, members(engine, job)[0].id)) == 3
    assert {jobs.state(engine, job), *(row.state for row in members(engine, job))} == {"queued"}


def test_a_leader_that_fails_before_it_calls_leaves_no_member_behind(engine: Engine, base: Path) -> None:
    job = enqueue(base / "missing")
    attempt.run(str(job), "leader@here", TrainingSpec, train)
    assert jobs.state(engine, job) in {"failed", "queued"}
    follow(members(engine, job)[0].id).join()
    assert members(engine, job)[0].state == "cancelled"


def joined(engine: Engine, job: uuid.UUID, attempt: int = 1) -> ledger.Claim:
    """A worker that has the member and says that it is ready, and no more after that."""
    token = jobs.row(engine, job).progress["gang"]["token"]
    held = jobs.claimed(engine, members(engine, job)[0].id, "zombie@here")
    jobs.alter(engine, held.job, f"progress = jsonb_build_object('joined', '{token}/{attempt}')")
    return held


def test_the_address_of_a_node_is_that_of_its_interface_or_the_one_towards_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TWEETMILL_GANG_INTERFACE", "lo"), ("DATABASE_URL", "postgresql://u@127.0.0.2/t")):
        monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        assert (network.own_address(), network.own_interface()) == ("127.0.0.1", "lo")
        monkeypatch.delenv(name)
    monkeypatch.setenv("TWEETMILL_GANG_INTERFACE", "none0")
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="has no interface none0 with an IPv4 address"):
        network.own_address()
    get_settings.cache_clear()
