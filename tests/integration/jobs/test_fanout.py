"""A parent and its shards: the count is right whatever ends, is cancelled or retried, and nobody waits for ever."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from schemas.states import LEGAL_MOVES, PARENT_MOVES, JobState
from tests.support import jobs
from tests.support.jobs import add, add_parent, claim, claimed, finish, row, state
from workers.database import transaction
from workers.errors import LeaseLost, Unavailable, UserError
from workers.jobs import fanout, maintenance

RETRIED = (JobState.FAILED, JobState.CANCELLED, JobState.QUARANTINED)


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


def cancel(engine: Engine, job: uuid.UUID) -> int:
    with engine.begin() as connection:
        return fanout.cancel(connection, job)


def retry(engine: Engine, job: uuid.UUID | None = None, states: tuple[JobState, ...] = RETRIED) -> list[uuid.UUID]:
    with engine.begin() as connection:
        return fanout.retry(connection, states, job)


def test_the_last_shard_closes_its_parent(engine):
    parent, shards = add_parent(engine, 3)
    for shard in shards[:2]:
        finish(engine, claimed(engine, shard))
    assert (state(engine, parent), row(engine, parent).remaining) == ("running", 1)
    finish(engine, claimed(engine, shards[2]))
    assert (state(engine, parent), row(engine, parent).remaining) == ("done", 0)


def test_shards_that_end_at_the_same_time_are_all_counted(engine):
    parent, shards = add_parent(engine, 8)
    held = [claimed(engine, shard) for shard in shards]
    start = threading.Barrier(4)

    def end(share: int) -> None:
        start.wait()
        for mine in held[share::4]:
            finish(engine, mine)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(end, range(4)))
    assert (state(engine, parent), row(engine, parent).remaining) == ("done", 0)


def test_a_shard_that_fails_last_fails_the_parent_which_says_what_to_do(engine):
    parent, shards = add_parent(engine, 2)
    finish(engine, claimed(engine, shards[0]))
    _fail(engine, shards[1])
    ended = row(engine, parent)
    assert ended.state == "failed"
    assert "1 shards did not finish" in ended.error["message"]
    assert f"tweetmill retry {parent}" in ended.error["message"]


def test_a_quarantined_shard_counts_as_ended(engine):
    parent, (shard,) = add_parent(engine, 1)
    jobs.alter(engine, shard, "max_failures = 1")
    claimed(engine, shard)
    jobs.expire(engine, shard)
    with engine.begin() as connection:
        assert maintenance.reap(connection) == [shard]
    assert (state(engine, shard), state(engine, parent)) == ("quarantined", "failed")


def test_cancelling_a_parent_cancels_what_waits_and_tells_what_runs(engine):
    parent, (done, running, waiting) = add_parent(engine, 3)
    finish(engine, claimed(engine, done))
    held = claimed(engine, running)
    assert cancel(engine, parent) == 3
    assert [state(engine, job) for job in (parent, done, running, waiting)] == ["cancelled", "done", "running", "cancelled"]
    assert row(engine, running).orders == "cancel"
    assert row(engine, parent).remaining == 1
    finish(engine, held, JobState.CANCELLED)
    assert (row(engine, parent).remaining, state(engine, parent)) == (0, "cancelled")


def test_a_cancelled_parent_retried_runs_its_unfinished_shards_and_closes(engine):
    parent, shards = add_parent(engine, 3)
    finish(engine, claimed(engine, shards[0]))
    cancel(engine, parent)
    assert sorted(retry(engine, parent)) == sorted(shards[1:])
    assert (state(engine, parent), row(engine, parent).remaining) == ("running", 2)
    for shard in shards[1:]:
        finish(engine, claimed(engine, shard))
    assert (state(engine, parent), row(engine, parent).remaining, row(engine, parent).error) == ("done", 0, None)


def test_a_failed_parent_retried_starts_with_a_clean_count_of_failures(engine):
    parent, (shard,) = add_parent(engine, 1)
    _fail(engine, shard)
    jobs.alter(engine, shard, "failures = 3")
    retry(engine, parent)
    assert (row(engine, shard).failures, row(engine, shard).error, row(engine, parent).error) == (0, None, None)
    finish(engine, claimed(engine, shard))
    assert state(engine, parent) == "done"


def test_cancelling_one_shard_of_a_running_parent_counts_it(engine):
    parent, (first, second) = add_parent(engine, 2)
    assert cancel(engine, first) == 1
    finish(engine, claimed(engine, second))
    assert (state(engine, parent), row(engine, parent).remaining) == ("failed", 0)


def test_cancelling_a_shard_of_a_cancelled_parent_has_nothing_left_to_do(engine):
    parent, (shard,) = add_parent(engine, 1)
    cancel(engine, parent)
    with pytest.raises(UserError, match="ended already"):
        cancel(engine, shard)
    assert row(engine, parent).remaining == 0


def test_cancelling_twice_says_that_it_has_ended(engine):
    job = add(engine)
    cancel(engine, job)
    with pytest.raises(UserError, match="ended already"):
        cancel(engine, job)


def test_a_cancelled_job_is_not_to_be_had_though_its_message_is_under_way(engine):
    job = add(engine)
    cancel(engine, job)
    assert claim(engine, job) is None


def test_a_retry_of_all_that_failed_leaves_the_cancelled_alone(engine):
    failed, cancelled = add(engine), add(engine)
    _fail(engine, failed)
    cancel(engine, cancelled)
    assert retry(engine, states=(JobState.FAILED,)) == [failed]
    assert state(engine, cancelled) == "cancelled"


def test_a_retried_job_keeps_counting_its_attempts_so_that_old_writers_stay_fenced(engine):
    job = add(engine)
    _fail(engine, job)
    retry(engine, job)
    assert claimed(engine, job).attempt == 2


def test_a_done_job_is_never_retried(engine):
    job = add(engine)
    finish(engine, claimed(engine, job))
    assert retry(engine, job) == []


@pytest.fixture
def moves(engine: Engine) -> Iterator[Callable[..., set[tuple[str, str]]]]:
    """Record every change of a state in Postgres by a trigger."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE move (is_parent bool, before text, after text);"
                "CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN INSERT INTO move VALUES (NEW.remaining IS NOT NULL, OLD.state, NEW.state); RETURN NULL; END';"
                "CREATE TRIGGER note_move AFTER UPDATE ON job FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION note_move()"
            )
        )

    def seen(*, is_parent: bool) -> set[tuple[str, str]]:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT DISTINCT before, after FROM move WHERE is_parent = :parent"), {"parent": is_parent})
            return {tuple(row) for row in rows}

    yield seen
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE move; DROP FUNCTION note_move CASCADE"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_under_everything_at_once_nothing_waits_for_ever_every_move_is_legal_and_the_counts_are_right(engine, moves, seed):
    """Finishes, failures, cancels, retries and reapers in eight threads, then whatever is left is finished one by one."""
    parents = [add_parent(engine, 6) for _ in range(3)]
    everyone = [job for parent, shards in parents for job in (parent, *shards)]
    deadlocks: list[Exception] = []

    def wreak(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        for _ in range(40):
            job = chance.choice(everyone)
            try:
                with transaction() as connection:
                    chance.choice((fanout.cancel, _retry_one, _reap, _run_one, _run_one, _run_one))(connection, job)
            except (LeaseLost, UserError):
                continue
            except Unavailable as error:
                deadlocks.append(error)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(wreak, range(8)))
    assert deadlocks == []
    for parent, shards in parents:
        retry(engine, parent)
        # The last permitted failure would be quarantine: here each shard gets its turn. All of them before the first is reaped, since a
        # reaper takes every job whose lease is over, and cancels those that were asked to.
        for shard in shards:
            jobs.alter(engine, shard, "orders = NULL, failures = 0")
        for shard in shards:
            if state(engine, shard) == "running":
                jobs.expire(engine, shard)
                with engine.begin() as connection:
                    maintenance.reap(connection)
            jobs.alter(engine, shard, "run_after = now()")
            held = claim(engine, shard)
            if held is not None:
                finish(engine, held)
        assert (row(engine, parent).remaining, state(engine, parent)) == (0, "done"), [state(engine, shard) for shard in shards]
    of_jobs, of_parents = moves(is_parent=False), moves(is_parent=True)
    assert of_jobs <= legal(LEGAL_MOVES)
    assert of_parents <= legal(PARENT_MOVES)
    assert {("queued", "running"), ("running", "done"), ("running", "queued")} <= of_jobs
    assert ("running", "done") in of_parents


def legal(moves: dict[JobState, frozenset[JobState]]) -> set[tuple[str, str]]:
    return {(start.value, end.value) for start, ends in moves.items() for end in ends}


def _retry_one(connection, job):
    fanout.retry(connection, RETRIED, job)


def _reap(connection, job):
    maintenance.reap(connection)


def _run_one(connection, job):
    from workers.jobs import ledger

    held = ledger.claim(connection, job, "worker@here", 0.0)
    if held is None:
        return
    if job.int % 3 == 0:
        return  # let the lease run out
    if job.int % 3 == 1:
        ledger.fail(connection, held, {"message": "it broke"}, backoff=0)
    else:
        ledger.finish(connection, held, JobState.DONE)


def _fail(engine: Engine, job: uuid.UUID) -> None:
    finish(engine, claimed(engine, job), JobState.FAILED)
