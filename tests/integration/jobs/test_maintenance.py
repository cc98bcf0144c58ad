"""What was lost is found: expired leases, unpublished rows, messages that Redis forgot."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from schemas.states import JobState
from tests.support import jobs
from tests.support.jobs import add, alter, claimed, expire, finish, live, row, state
from workers.errors import Unavailable
from workers.jobs import fanout, ledger, maintenance, relay, worker_registry
from workers.jobs.maintenance import Maintenance
from workers.jobs.relay import Shortfall


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


def reap(engine: Engine) -> list[uuid.UUID]:
    with engine.begin() as connection:
        return maintenance.reap(connection)


class Mailbox:
    """Stands for what Redis holds: what was published and nobody took yet."""

    def __init__(self) -> None:
        self.messages: list[uuid.UUID] = []
        self.away = False

    def publish(self, kind: str, queue: str, job: uuid.UUID, *, ahead: bool = False) -> None:
        if self.away:
            raise ConnectionError
        self.messages.insert(0 if ahead else len(self.messages), job)

    def pending(self, queue: str) -> int:
        return len(self.messages)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def make_maintenance(engine: Engine, mailbox: Mailbox) -> Iterator[Callable[..., Maintenance]]:
    """Makes what a worker has, and ends its threads in the end."""
    made: list[Maintenance] = []

    def make(**changes: Any) -> Maintenance:
        fields = {"engine": engine, "name": "worker@here", "queues": ("upkeep",), "pid": os.getpid(), "interval": 0.05}
        fields |= {"republish_after": 0.2, "pending": mailbox.pending, "publish": mailbox.publish}
        made.append(Maintenance(**{**fields, **changes}))
        return made[-1]

    yield make
    for upkeep_ in made:
        upkeep_._stopping.set()
        upkeep_.leave()


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
        fanout.cancel(connection, held.job)
    expire(engine, held.job)
    reap(engine)
    assert state(engine, held.job) == "cancelled"


def test_a_worker_killed_while_it_was_leaving_costs_its_job_no_failure(engine):
    held = claimed(engine, add(engine))
    with engine.begin() as connection:
        worker_registry.leave(connection, "worker@here", 1)
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
    jobs.add_parent(engine, 1)
    assert reap(engine) == []


# The relay


def relay_once(engine: Engine, mailbox: Mailbox) -> int:
    with engine.begin() as connection:
        return relay.relay(connection, "upkeep", mailbox.pending, mailbox.publish)


def supply(engine: Engine, mailbox: Mailbox) -> int:
    return relay.publish_queued("upkeep", mailbox.pending, mailbox.publish, engine)


def test_the_relay_publishes_the_oldest_first_until_redis_holds_its_share(engine, mailbox):
    queued = [add(engine) for _ in range(relay.SHARE + 6)]
    live(engine, 2)
    assert supply(engine, mailbox) == relay.SHARE
    assert mailbox.messages == queued[: relay.SHARE]
    assert supply(engine, mailbox) == 0
    mailbox.messages.clear()
    assert supply(engine, mailbox) == 6


@pytest.mark.parametrize(
    ("change", "share"),
    [
        ("seen_at = now()", 80),
        ("seen_at = now() - interval '31 seconds'", 78),
        ("orders = 'drain'", 78),
        ("left_at = now()", 78),
        ("queues = 'training'", 78),
    ],
)
def test_many_workers_make_room_for_two_messages_each_if_they_live_stay_and_serve_the_queue(engine, mailbox, change, share):
    with engine.begin() as connection:
        ledger.insert(connection, [ledger.NewJob("upkeep.work", "upkeep", jobs.Work(), uuid.uuid4().hex) for _ in range(100)])
    live(engine, 40)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE worker SET {change} WHERE name = 'worker7@here'"))  # noqa: S608
    assert supply(engine, mailbox) == share


def give_back(engine: Engine, job: uuid.UUID) -> None:
    held = claimed(engine, job)
    with engine.begin() as connection:
        ledger.release(connection, held)


def kill_worker(engine: Engine, job: uuid.UUID) -> None:
    claimed(engine, job)
    expire(engine, job)
    reap(engine)


def fail_and_retry(engine: Engine, job: uuid.UUID) -> None:
    held = claimed(engine, job)
    finish(engine, held, JobState.FAILED)
    with engine.begin() as connection:
        fanout.retry(connection, [JobState.FAILED], job)


@pytest.mark.parametrize("back", [give_back, kill_worker, fail_and_retry])
def test_a_job_that_comes_again_is_taken_before_all_that_waits_though_redis_holds_its_share(engine, mailbox, back):
    first = add(engine)
    back(engine, first)
    with engine.begin() as connection:
        new = [ledger.NewJob("upkeep.work", "upkeep", jobs.Work(), uuid.uuid4().hex) for _ in range(relay.SHARE + 8)]
        ledger.insert(connection, new)
    alter(engine, first, "run_after = now() + interval '1 minute'")
    assert supply(engine, mailbox) == relay.SHARE
    alter(engine, first, "run_after = now()")
    assert supply(engine, mailbox) == 1, "there was no room for it"
    assert mailbox.messages[0] == first
    assert supply(engine, mailbox) == 0


def test_jobs_that_come_again_keep_their_order_and_do_not_fill_redis(engine, mailbox):
    with engine.begin() as connection:
        ledger.insert(connection, [ledger.NewJob("upkeep.work", "upkeep", jobs.Work(), uuid.uuid4().hex) for _ in range(relay.SHARE)])
    supply(engine, mailbox)
    again = [add(engine) for _ in range(80)]
    with engine.begin() as connection:
        connection.execute(text("UPDATE job SET attempt = 1 WHERE published_at IS NULL"))
    taken = []
    while again[-1] not in taken:
        supply(engine, mailbox)
        assert len(mailbox.messages) <= relay.SHARE + 32
        taken.append(mailbox.messages.pop(0))
        jobs.claimed(engine, taken[-1])
    assert [job for job in taken if job in again] == again, "none is passed by one that came later"
    assert len(taken) == len(again)


def test_the_relay_passes_over_jobs_that_must_wait_and_other_queues(engine, mailbox):
    live(engine, 1)
    later = add(engine)
    alter(engine, later, "run_after = now() + interval '1 minute'")
    add(engine, queue="summarization")
    assert relay_once(engine, mailbox) == 0


def test_when_redis_is_away_nothing_is_marked_as_published(engine, mailbox):
    job = add(engine)
    live(engine, 1)
    mailbox.away = True
    with pytest.raises(ConnectionError):
        relay_once(engine, mailbox)
    assert row(engine, job).published_at is None


def test_relays_at_once_publish_no_row_twice(engine, mailbox):
    with engine.begin() as connection:
        new = [ledger.NewJob("upkeep.work", "upkeep", jobs.Work(), uuid.uuid4().hex) for _ in range(200)]
        queued = ledger.insert(connection, new)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: supply(engine, mailbox), range(4))) == relay.SHARE
    assert len(set(mailbox.messages)) == len(mailbox.messages) == relay.SHARE, "together they keep to the share"
    assert set(mailbox.messages) <= set(queued)


def test_a_relay_that_is_stopped_in_the_middle_holds_up_the_others_only_for_a_while(engine, mailbox, monkeypatch):
    monkeypatch.setattr(relay, "_STUCK_AFTER", "1s")
    stuck, wakes = threading.Event(), threading.Event()

    def publish(kind: str, queue: str, job: uuid.UUID, *, ahead: bool = False) -> None:
        stuck.set()
        wakes.wait(20)

    job = add(engine)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(relay.publish_queued, "upkeep", mailbox.pending, publish, engine)
        assert stuck.wait(10)
        begun = time.monotonic()
        while supply(engine, mailbox) == 0:
            assert time.monotonic() - begun < 10
        wakes.set()
        with pytest.raises((Unavailable, DBAPIError)):
            first.result(timeout=10)
    assert mailbox.messages == [job]
    assert row(engine, job).published_at is not None


@pytest.mark.parametrize("forged", ["training", "", ["upkeep"], None, {}])
def test_a_message_of_a_queue_that_is_not_served_makes_no_room(make_maintenance, forged):
    thread = make_maintenance()
    thread.taken(forged)
    assert thread._taken.empty()


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
    relay_once(engine, mailbox)
    mailbox.messages.clear()
    shortfall = Shortfall(patience=0.0)
    with engine.begin() as connection:
        assert relay.find_lost(connection, "upkeep", mailbox.pending, shortfall) == 3
    assert relay_once(engine, mailbox) == 3
    assert sorted(mailbox.messages) == sorted(queued)


def test_one_lost_message_is_found_while_newer_ones_keep_the_queue_full(engine, mailbox):
    queued = [add(engine) for _ in range(4)]
    live(engine, 2)
    relay_once(engine, mailbox)
    mailbox.messages.remove(queued[0])
    with engine.begin() as connection:
        assert relay.find_lost(connection, "upkeep", mailbox.pending, Shortfall(patience=0.0)) == 1
    assert row(engine, queued[0]).published_at is None


def test_a_backlog_that_redis_holds_is_never_copied_however_old(engine, mailbox):
    job = add(engine)
    live(engine, 1)
    relay_once(engine, mailbox)
    alter(engine, job, "published_at = now() - interval '5 hours'")
    with engine.begin() as connection:
        assert relay.find_lost(connection, "upkeep", mailbox.pending, Shortfall(patience=0.0)) == 0


# The thread


def test_the_thread_does_all_of_it_and_a_leaving_worker_gives_its_jobs_back(engine, mailbox, make_maintenance):
    silent = claimed(engine, add(engine), "gone@there")
    expire(engine, silent.job)
    mine = claimed(engine, add(engine), "worker@here")
    others = claimed(engine, add(engine), "other@there")
    thread = make_maintenance()
    thread.start()
    assert wait_for(lambda: silent.job in mailbox.messages)
    mailbox.messages.clear()
    assert wait_for(lambda: silent.job in mailbox.messages), "Redis forgot it"
    thread.stop()
    assert (row(engine, mine.job).orders, row(engine, others.job).orders) == ("drain", None)
    late = claimed(engine, add(engine), "worker@here")
    assert wait_for(lambda: row(engine, late.job).orders == "drain"), "what it claimed after it had begun to leave"
    assert standing(engine) == [("worker@here", "drain", False)]
    thread.leave()
    assert standing(engine) == [("worker@here", "drain", True)]


def standing(engine: Engine) -> list[tuple[str, str | None, bool]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT name, orders, left_at IS NOT NULL FROM worker ORDER BY name"))]


def test_a_worker_that_is_asked_to_leave_ends_itself(engine, mailbox, make_maintenance):
    ended: list[str] = []
    thread = make_maintenance(terminate=lambda: ended.append("end"))
    thread.watch()
    with engine.begin() as connection:
        assert [asked.name for asked in worker_registry.drain(connection, ["worker"])] == ["worker@here"]
    thread.watch()
    assert ended == ["end"]


def test_a_message_taken_makes_room_for_another_at_once(engine, mailbox, make_maintenance):
    first, second = add(engine), add(engine)
    alter(engine, second, "run_after = now() + interval '1 minute'")
    thread = make_maintenance(interval=60)
    thread.start()
    assert wait_for(lambda: mailbox.messages == [first])
    alter(engine, second, "run_after = now()")
    thread.taken("upkeep")
    assert wait_for(lambda: mailbox.messages == [first, second], 5), "not only in the next round"
    thread.stop()


def test_many_messages_taken_at_once_are_one_look(engine, mailbox, make_maintenance):
    looks: list[str] = []

    def pending(queue: str) -> int:
        looks.append(queue)
        return relay.SHARE

    add(engine)
    thread = make_maintenance(interval=60, pending=pending)
    thread.start()
    assert wait_for(lambda: len(looks) == 1)
    for _ in range(100):
        thread.taken("upkeep")
    time.sleep(0.5)
    assert len(looks) <= 3
    thread.stop()


def test_while_redis_is_away_leases_are_still_reaped(engine, mailbox, make_maintenance):
    add(engine)
    silent = claimed(engine, add(engine), "gone@there")
    expire(engine, silent.job)
    mailbox.away = True
    thread = make_maintenance()
    with pytest.raises(ConnectionError):
        thread.supply()
    thread.watch()
    assert state(engine, silent.job) == "queued"
    mailbox.away = False
    thread.supply()
    assert len(mailbox.messages) == 2


def test_a_worker_leaving_while_postgres_is_away_goes_on_asking(engine, mailbox, make_maintenance):
    held = claimed(engine, add(engine))
    thread = make_maintenance()
    answers = iter([Unavailable(), Unavailable()])

    class Sulking:
        def begin(self):
            for error in answers:
                raise error
            return engine.begin()

    thread.watch()
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
        "reap": (maintenance._REAP, {"limit": 100}),
        "relay": (relay._TAKE_ANY, {"queue": "upkeep", "limit": 4}),
        "relay again": (relay._TAKE_AGAIN, {"queue": "upkeep", "limit": 4}),
        "unpublish": (relay._UNPUBLISH, {"queue": "upkeep", "limit": 4}),
        "count": (relay._PUBLISHED, {"queue": "upkeep"}),
        "waits": (relay._WAITS, {"queue": "upkeep"}),
        "claim": (ledger._CLAIM, {"job": uuid.uuid4(), "owner": "w", "lease": 60.0, "kind": "upkeep.work", "sources": ["queued"]}),
        "give back": (worker_registry._GIVE_BACK, {"name": "worker@here"}),
    }
    for name, (statement, values) in statements.items():
        with engine.connect() as connection:
            plan = "\n".join(connection.execute(text("EXPLAIN " + statement), values).scalars())
        assert "Seq Scan on job" not in plan, f"{name}:\n{plan}"
        # Few rows are published at a time: a backlog of 10,000 that are not must not be read to count them.
        assert name not in ("unpublish", "count") or "job_published" in plan, f"{name}:\n{plan}"
