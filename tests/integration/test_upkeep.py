"""What was lost is found: expired leases, unpublished rows, messages that Redis forgot."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests import jobs
from tests.jobs import add, alter, claimed, expire, row, state
from workers import family, ledger, upkeep
from workers.errors import Unavailable
from workers.upkeep import Shortfall, Upkeep


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


def reap(engine: Engine) -> list[uuid.UUID]:
    with engine.begin() as connection:
        return upkeep.reap(connection)


class Mailbox:
    """Stands for what Redis holds: what was published and nobody took yet."""

    def __init__(self) -> None:
        self.messages: list[uuid.UUID] = []
        self.away = False

    def publish(self, kind: str, queue: str, job: uuid.UUID) -> None:
        if self.away:
            raise ConnectionError
        self.messages.append(job)

    def pending(self, queue: str) -> int:
        return len(self.messages)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


def make_upkeep(engine: Engine, mailbox: Mailbox, **changes: Any) -> Upkeep:
    fields = {"engine": engine, "name": "worker@here", "queues": ("upkeep",), "pid": os.getpid(), "interval": 0.05, "republish_after": 0.2}
    return Upkeep(**{**fields, "pending": mailbox.pending, "publish": mailbox.publish, **changes})


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


# The reaper


def test_a_job_whose_worker_fell_silent_returns_to_the_queue_and_counts_a_failure(engine):
    held = claimed(engine, add(engine), "gone@there")
    assert reap(engine) == []
    expire(engine, held.job)
    assert reap(engine) == [held.job]
    back = row(engine, held.job)
    assert (back.state, back.failures, back.published_at) == ("queued", 1, None)
    assert back.error["message"] == "worker gone@there stopped renewing its lease"


def test_a_job_that_kills_its_worker_is_quarantined_after_three_tries(engine):
    job = add(engine)
    for _ in range(3):
        claimed(engine, job)
        expire(engine, job)
        reap(engine)
    assert (state(engine, job), row(engine, job).attempt) == ("quarantined", 3)


def test_a_silent_worker_whose_job_was_cancelled_does_not_bring_it_back(engine):
    held = claimed(engine, add(engine))
    with engine.begin() as connection:
        family.cancel(connection, held.job)
    expire(engine, held.job)
    reap(engine)
    assert state(engine, held.job) == "cancelled"


def test_a_worker_killed_while_it_was_leaving_costs_its_job_no_failure(engine):
    held = claimed(engine, add(engine))
    with engine.begin() as connection:
        upkeep.depart(connection, "worker@here")
    expire(engine, held.job)
    reap(engine)
    assert (row(engine, held.job).failures, row(engine, held.job).preemptions, state(engine, held.job)) == (0, 1, "queued")


def test_many_reapers_at_once_take_each_job_once(engine):
    mine = [add(engine) for _ in range(20)]
    for job in mine:
        claimed(engine, job)
        expire(engine, job)
    with ThreadPoolExecutor(4) as pool:
        taken = [job for part in pool.map(lambda _: reap(engine), range(4)) for job in part]
    assert sorted(taken) == sorted(mine)
    assert {row(engine, job).failures for job in mine} == {1}


def test_a_parent_has_no_lease_and_is_never_reaped(engine):
    jobs.add_family(engine, 1)
    assert reap(engine) == []


# The relay


def relay(engine: Engine, mailbox: Mailbox) -> int:
    with engine.begin() as connection:
        return upkeep.relay(connection, "upkeep", mailbox.pending, mailbox.publish)


def live(engine: Engine, count: int) -> None:
    for number in range(count):
        with engine.begin() as connection:
            upkeep.register(connection, f"worker{number}@here", ("upkeep", "training"), 1)


def test_the_relay_publishes_the_oldest_first_up_to_twice_the_live_workers(engine, mailbox):
    queued = [add(engine) for _ in range(6)]
    live(engine, 2)
    assert relay(engine, mailbox) == 4
    assert mailbox.messages == queued[:4]
    assert relay(engine, mailbox) == 0
    mailbox.messages.clear()
    assert relay(engine, mailbox) == 2


def test_a_worker_that_was_not_seen_for_a_minute_makes_no_room(engine, mailbox):
    add(engine)
    live(engine, 1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE worker SET seen_at = now() - interval '61 seconds'"))
    assert relay(engine, mailbox) == 0


def test_the_relay_passes_over_jobs_that_must_wait_and_other_queues(engine, mailbox):
    live(engine, 1)
    later = add(engine)
    alter(engine, later, "run_after = now() + interval '1 minute'")
    add(engine, queue="summarization")
    assert relay(engine, mailbox) == 0


def test_when_redis_is_away_nothing_is_marked_as_published(engine, mailbox):
    job = add(engine)
    live(engine, 1)
    mailbox.away = True
    with pytest.raises(ConnectionError):
        relay(engine, mailbox)
    assert row(engine, job).published_at is None


def test_relays_at_once_publish_no_row_twice(engine, mailbox):
    queued = [add(engine) for _ in range(12)]
    live(engine, 6)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: relay(engine, mailbox), range(4)))
    assert sorted(mailbox.messages) == sorted(queued)


# The finder


def test_a_message_on_its_way_is_not_lost():
    shortfall = Shortfall(patience=30)
    assert [shortfall.lost(missing, now) for missing, now in ((1, 0.0), (0, 2.0), (1, 4.0), (1, 33.0))] == [0, 0, 0, 0]


def test_what_is_missing_all_the_time_is_lost_and_no_more_than_that():
    shortfall = Shortfall(patience=30)
    assert [shortfall.lost(missing, now) for missing, now in ((5, 0.0), (3, 10.0), (4, 30.0))] == [0, 0, 3]


def test_what_was_published_again_is_given_its_time(engine):
    shortfall = Shortfall(patience=30)
    shortfall.lost(3, 0.0)
    assert shortfall.lost(3, 30.0) == 3
    assert shortfall.lost(3, 31.0) == 0


def test_messages_that_redis_forgot_are_published_again(engine, mailbox):
    queued = [add(engine) for _ in range(3)]
    live(engine, 2)
    relay(engine, mailbox)
    mailbox.messages.clear()
    shortfall = Shortfall(patience=0.0)
    with engine.begin() as connection:
        assert upkeep.find_lost(connection, "upkeep", mailbox.pending, shortfall) == 3
    assert relay(engine, mailbox) == 3
    assert sorted(mailbox.messages) == sorted(queued)


def test_one_lost_message_is_found_while_newer_ones_keep_the_queue_full(engine, mailbox):
    queued = [add(engine) for _ in range(4)]
    live(engine, 2)
    relay(engine, mailbox)
    mailbox.messages.remove(queued[0])
    with engine.begin() as connection:
        assert upkeep.find_lost(connection, "upkeep", mailbox.pending, Shortfall(patience=0.0)) == 1
    assert row(engine, queued[0]).published_at is None


def test_a_backlog_that_redis_holds_is_never_copied_however_old(engine, mailbox):
    job = add(engine)
    live(engine, 1)
    relay(engine, mailbox)
    alter(engine, job, "published_at = now() - interval '5 hours'")
    with engine.begin() as connection:
        assert upkeep.find_lost(connection, "upkeep", mailbox.pending, Shortfall(patience=0.0)) == 0


# The thread


def test_the_thread_does_all_of_it_and_a_leaving_worker_gives_its_jobs_back(engine, mailbox):
    silent = claimed(engine, add(engine), "gone@there")
    expire(engine, silent.job)
    mine = claimed(engine, add(engine), "worker@here")
    others = claimed(engine, add(engine), "other@there")
    thread = make_upkeep(engine, mailbox)
    thread.start()
    assert wait_for(lambda: silent.job in mailbox.messages)
    mailbox.messages.clear()
    assert wait_for(lambda: silent.job in mailbox.messages), "Redis forgot it"
    thread.stop()
    assert (row(engine, mine.job).orders, row(engine, others.job).orders) == ("drain", None)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM worker")).scalar_one() == 0


def test_while_redis_is_away_leases_are_still_reaped(engine, mailbox):
    add(engine)
    silent = claimed(engine, add(engine), "gone@there")
    expire(engine, silent.job)
    mailbox.away = True
    thread = make_upkeep(engine, mailbox)
    with pytest.raises(ConnectionError):
        thread.round()
    assert state(engine, silent.job) == "queued"
    mailbox.away = False
    thread.round()
    assert len(mailbox.messages) == 2


def test_a_worker_leaving_while_postgres_is_away_goes_on_asking(engine, mailbox):
    held = claimed(engine, add(engine))
    thread = make_upkeep(engine, mailbox)
    answers = iter([Unavailable(), Unavailable()])

    class Sulking:
        def begin(self):
            for error in answers:
                raise error
            return engine.begin()

    thread.engine = Sulking()
    thread.start()
    thread.stop()
    assert wait_for(lambda: row(engine, held.job).orders == "drain")


# Size


def test_no_statement_of_every_round_reads_the_whole_table(engine):
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO job (id, kind, queue, idempotency_key, state, attempt, finished_at, lease_until, published_at) "
                "SELECT gen_random_uuid(), 'upkeep.work', 'upkeep', 'key' || n, state, 1, CASE WHEN state = 'done' THEN now() END, "
                "CASE WHEN state = 'running' THEN now() + interval '1 minute' END, CASE WHEN n <= 60 THEN now() END "
                "FROM generate_series(1, 50000) AS n, "
                "LATERAL (SELECT CASE WHEN n % 50 = 0 THEN 'running' WHEN n % 5 = 0 THEN 'queued' ELSE 'done' END AS state) AS s"
            )
        )
        connection.execute(text("ANALYZE job"))
    statements = {
        "reap": (upkeep._REAP, {"limit": 100}),
        "relay": (upkeep._TAKE, {"queue": "upkeep", "limit": 4}),
        "unpublish": (upkeep._UNPUBLISH, {"queue": "upkeep", "limit": 4}),
        "count": (upkeep._PUBLISHED, {"queue": "upkeep"}),
        "claim": (ledger._CLAIM, {"job": uuid.uuid4(), "owner": "w", "lease": 60.0, "kind": "upkeep.work"}),
        "drain": (upkeep._DRAIN, {"name": "worker@here"}),
    }
    for name, (statement, values) in statements.items():
        with engine.connect() as connection:
            plan = "\n".join(connection.execute(text("EXPLAIN " + statement), values).scalars())
        assert "Seq Scan on job" not in plan, f"{name}:\n{plan}"
        # Few rows are published at a time: a backlog of 10,000 that are not must not be read to count them.
        assert name not in ("unpublish", "count") or "job_published" in plan, f"{name}:\n{plan}"
