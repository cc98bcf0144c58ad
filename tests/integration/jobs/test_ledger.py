"""Every move of a job, as the ledger allows it: claims, renewals, fences, ends."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from schemas.states import JobState
from tests.support import jobs
from tests.support.jobs import add, claim, claimed, expire, finish, row, state
from workers.errors import LeaseLost, NotFound
from workers.jobs import fanout, ledger, maintenance


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


# Inserting


def test_equal_idempotency_keys_are_one_job(engine):
    job = ledger.NewJob(kind="upkeep.work", queue="upkeep", payload=jobs.Work(), idempotency_key="same")
    duplicate = ledger.NewJob(kind="upkeep.work", queue="upkeep", payload=jobs.Work(name="other"), idempotency_key="same")
    with engine.begin() as connection:
        assert ledger.insert(connection, [job]) == [job.id]
        assert ledger.insert(connection, [duplicate]) == []
        assert ledger.find_by_key(connection, "same") == job.id


def test_two_producers_at_once_make_one_job(engine):
    start = threading.Barrier(8)

    def produce(_: int) -> int:
        start.wait()
        job = ledger.NewJob(kind="upkeep.work", queue="upkeep", payload=jobs.Work(), idempotency_key="same")
        with engine.begin() as connection:
            return len(ledger.insert(connection, [job]))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(produce, range(8))) == 1


# Claiming


def test_a_claim_raises_the_attempt_and_hands_over_the_payload(engine):
    held = claimed(engine, add(engine, payload=jobs.Work(name="mine")))
    assert (held.attempt, held.payload, held.kind) == (1, {"name": "mine"}, "upkeep.work")
    assert state(engine, held.job) == "running"


def test_of_many_copies_of_a_message_one_claims(engine):
    job = add(engine)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda number: claim(engine, job, f"worker{number}@here"), range(8)))
    assert sum(held is not None for held in claims) == 1
    assert row(engine, job).attempt == 1


def test_an_unknown_job_is_not_to_be_had(engine):
    assert claim(engine, uuid.uuid4()) is None


@pytest.mark.parametrize("ending", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_an_ended_job_is_not_to_be_had(engine, ending):
    job = add(engine)
    finish(engine, claimed(engine, job), ending)
    assert claim(engine, job) is None


def test_a_job_of_another_kind_is_left_alone(engine):
    job = add(engine, kind="training.train")
    with engine.begin() as connection:
        assert ledger.claim(connection, job, "worker@here", 60, kind="summarization.summarize_shard") is None
    assert state(engine, job) == "queued"


def test_a_job_that_must_wait_is_not_to_be_had_before_its_time(engine):
    job = add(engine)
    jobs.alter(engine, job, "run_after = now() + interval '1 minute'")
    assert claim(engine, job) is None
    jobs.alter(engine, job, "run_after = now()")
    assert claim(engine, job) is not None


def test_a_parent_is_never_claimed(engine):
    parent, _ = jobs.add_parent(engine, 1)
    assert claim(engine, parent) is None


def test_an_expired_lease_is_no_invitation_the_reaper_alone_ends_it(engine):
    job = add(engine)
    claimed(engine, job, "gone@there")
    expire(engine, job)
    assert claim(engine, job) is None
    with engine.begin() as connection:
        assert maintenance.reap(connection) == [job]
    assert claimed(engine, job).attempt == 2
    assert row(engine, job).failures == 1


# Holding


def test_a_renewal_prolongs_the_lease_and_stores_progress(engine):
    held = claimed(engine, add(engine), lease=1)
    before = row(engine, held.job).lease_until
    with engine.begin() as connection:
        assert ledger.renew(connection, ledger.Claim(**{**vars(held), "lease": 60.0}), {"step": 3}) is None
    assert (row(engine, held.job).lease_until - before).total_seconds() > 50
    assert row(engine, held.job).progress == {"step": 3}


def test_a_worker_that_slept_through_its_lease_can_write_nothing(engine):
    job = add(engine)
    zombie = claimed(engine, job, "zombie@there")
    expire(engine, job)
    with engine.begin() as connection:
        maintenance.reap(connection)
    claimed(engine, job)
    for write in (
        lambda connection: ledger.renew(connection, zombie),
        lambda connection: ledger.fence(connection, zombie),
        lambda connection: ledger.finish(connection, zombie, JobState.DONE),
        lambda connection: ledger.fail(connection, zombie, {"message": "x"}),
        lambda connection: ledger.release(connection, zombie),
    ):
        with pytest.raises(LeaseLost), engine.begin() as connection:
            write(connection)
    assert (row(engine, job).attempt, state(engine, job), row(engine, job).failures) == (2, "running", 1)


def test_a_zombie_whose_job_went_back_to_the_queue_can_not_end_it(engine):
    held = claimed(engine, add(engine))
    with engine.begin() as connection:
        ledger.release(connection, held)
    with pytest.raises(LeaseLost), engine.begin() as connection:
        ledger.finish(connection, held, JobState.CANCELLED)
    assert state(engine, held.job) == "queued"


def test_while_a_fenced_transaction_is_open_nobody_takes_the_job_over(engine):
    held = claimed(engine, add(engine))
    expire(engine, held.job)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            ledger.fence(connection, held)
            assert pool.submit(_reap, engine).result(timeout=5) == [], "the reaper passes by what is locked"
            ledger.finish(connection, held, JobState.DONE)
        assert pool.submit(_reap, engine).result(timeout=5) == []
        assert claim(engine, held.job) is None


def test_renewals_do_not_deadlock_with_the_commit_of_the_same_job(engine):
    held = claimed(engine, add(engine))
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            ledger.fence(connection, held)
            beat = pool.submit(_renew, engine, held)
            with pytest.raises(TimeoutError):
                beat.result(timeout=0.3)
            ledger.finish(connection, held, JobState.DONE)
        with pytest.raises(LeaseLost):
            beat.result(timeout=5)


def _reap(engine: Engine) -> list[uuid.UUID]:
    with engine.begin() as connection:
        return maintenance.reap(connection)


def _renew(engine: Engine, held: ledger.Claim) -> None:
    with engine.begin() as connection:
        ledger.renew(connection, held)


# Ending


def test_results_and_final_state_are_one_transaction(engine):
    held = claimed(engine, add(engine))
    with pytest.raises(RuntimeError), engine.begin() as connection:  # noqa: PT012 - both stand in the transaction
        ledger.finish(connection, held, JobState.DONE, result={"rows": 3})
        raise RuntimeError
    assert (state(engine, held.job), row(engine, held.job).result) == ("running", None)


def test_a_done_job_keeps_its_result_and_its_last_progress(engine):
    held = claimed(engine, add(engine))
    with engine.begin() as connection:
        ledger.finish(connection, held, JobState.DONE, result={"rows": 3}, progress={"done": 3})
    ended = row(engine, held.job)
    assert (ended.result, ended.progress, ended.lease_until) == ({"rows": 3}, {"done": 3}, None)
    assert ended.finished_at is not None


def test_failures_wait_longer_each_time_and_end_in_quarantine(engine):
    job = add(engine)
    waits = []
    for _ in range(2):
        assert _fail(engine, claimed(engine, job)) is JobState.QUEUED
        with engine.connect() as connection:
            waits.append(connection.execute(text("SELECT extract(epoch FROM run_after - now()) FROM job")).scalar_one())
        jobs.alter(engine, job, "run_after = now()")
    assert waits[0] == pytest.approx(2, abs=0.5)
    assert waits[1] == pytest.approx(4, abs=0.5)
    assert _fail(engine, claimed(engine, job)) is JobState.QUARANTINED
    assert row(engine, job).error == {"message": "it broke"}
    assert jobs.events(engine, job) == ["enqueued", "claimed", "failure", "claimed", "failure", "claimed", "quarantined"]


def test_a_job_given_back_may_run_at_once_and_counts_no_failure(engine):
    held = claimed(engine, add(engine))
    with engine.begin() as connection:
        assert ledger.release(connection, held) is JobState.QUEUED
    given = row(engine, held.job)
    assert (given.failures, given.preemptions, given.published_at) == (0, 1, None)
    assert claimed(engine, held.job).attempt == 2


def test_a_job_for_which_a_gpu_is_busy_is_tried_ever_later_up_to_a_minute(engine):
    job, waits = add(engine), []
    for _ in range(6):
        with engine.begin() as connection:
            ledger.release(connection, claimed(engine, job), "GPU 0 is held", delay=5, growth=2)
        with engine.connect() as connection:
            waits.append(connection.execute(text("SELECT extract(epoch FROM run_after - now()) FROM job")).scalar_one())
        jobs.alter(engine, job, "run_after = now()")
    assert [float(wait) for wait in waits] == pytest.approx([5, 10, 20, 40, 60, 60], abs=1)
    assert row(engine, job).failures == 0


def test_a_cancel_that_comes_while_the_attempt_fails_is_not_forgotten(engine):
    held = claimed(engine, add(engine))
    _cancel(engine, held.job)
    assert _fail(engine, held) is JobState.CANCELLED


def test_a_cancel_that_comes_while_the_worker_leaves_is_not_forgotten(engine):
    held = claimed(engine, add(engine))
    _cancel(engine, held.job)
    with engine.begin() as connection:
        assert ledger.release(connection, held) is JobState.CANCELLED


def test_a_job_that_ends_as_it_is_cancelled_is_done_if_its_commit_came_first(engine):
    held = claimed(engine, add(engine))
    _cancel(engine, held.job)
    finish(engine, held)
    assert (state(engine, held.job), row(engine, held.job).orders) == ("done", None)


def _cancel(engine: Engine, job: uuid.UUID) -> int:
    with engine.begin() as connection:
        return fanout.cancel(connection, job)


def _fail(engine: Engine, held: ledger.Claim) -> JobState:
    with engine.begin() as connection:
        return ledger.fail(connection, held, {"message": "it broke"})


# Finding


def test_a_job_is_found_by_the_beginning_of_its_id(engine):
    job = add(engine)
    with engine.connect() as connection:
        for reference in (str(job), str(job)[:8], str(job)[:13].upper(), "latest"):
            assert ledger.resolve(connection, reference) == job


def test_a_beginning_that_fits_two_jobs_names_neither(engine):
    add(engine, id=uuid.UUID("aaaa0000-0000-4000-8000-000000000001"))
    add(engine, id=uuid.UUID("aaaa0000-0000-4000-8000-000000000002"))
    with engine.connect() as connection, pytest.raises(NotFound, match="more than one"):
        ledger.resolve(connection, "aaaa")


@pytest.mark.parametrize("reference", ["", "ffff", "no-such-job", "'; DROP TABLE job", "%"])
def test_what_is_no_job_is_said_to_be_none(engine, reference):
    add(engine, id=uuid.UUID("aaaa0000-0000-4000-8000-000000000001"))
    with engine.connect() as connection, pytest.raises(NotFound, match="there is none"):
        ledger.resolve(connection, reference)


def test_the_latest_job_is_one_that_was_asked_for_and_not_a_shard(engine):
    parent, _ = jobs.add_parent(engine, 2)
    with engine.connect() as connection:
        assert ledger.resolve(connection, "latest") == parent
