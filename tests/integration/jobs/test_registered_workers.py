"""What the register of workers tells and forgets: who lives, who shares a name, who was asked to leave."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from tests.support.jobs import live
from workers.errors import UserError
from workers.jobs import worker_registry


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


def test_workers_that_were_not_seen_for_a_day_can_be_forgotten(engine):
    live(engine, 2)
    with engine.begin() as connection:
        connection.execute(text("UPDATE worker SET seen_at = now() - interval '25 hours' WHERE name = 'worker1@here'"))
        assert worker_registry.forget(connection) == 1
        assert [worker.name for worker in worker_registry.live(connection)] == ["worker0@here"]


def test_a_name_that_two_workers_share_must_be_given_in_full(engine):
    with engine.begin() as connection:
        for host in ("north", "south"):
            worker_registry.register(connection, f"gpu0@{host}", ["upkeep"], 1)
        with pytest.raises(UserError, match="gpu0@north, gpu0@south have this name"):
            worker_registry.drain(connection, ["gpu0"])
        assert [asked.name for asked in worker_registry.drain(connection, ["gpu0@south"])] == ["gpu0@south"]
        assert [worker.draining for worker in worker_registry.live(connection)] == [False, True]


def test_a_worker_that_begins_again_is_no_longer_asked_to_leave(engine):
    live(engine, 1)
    with engine.begin() as connection:
        worker_registry.drain(connection, None)
        worker_registry.has_left(connection, "worker0@here", 1)
        assert worker_registry.live(connection) == []
    live(engine, 1)
    with engine.begin() as connection:
        assert [worker.draining for worker in worker_registry.live(connection)] == [False]
