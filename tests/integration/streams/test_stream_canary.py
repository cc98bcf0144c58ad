"""Models in service for a real stream: each of its shards asks anew, has one model, and counts for the canary that runs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from tasks import streams
from tests.integration.in_process import work_off
from tests.support.streams import ECHO, add_model, begin, rows, tweet
from workers import database
from workers.canary import watch
from workers.catalog import models, service
from workers.database import transaction
from workers.settings import get_settings
from workers.streams import arrivals as store
from workers.streams.holding import Held
from workers.streams.micro_batches import Limits

LIMITS = Limits(batch=2, max_tokens=1_000, max_age=5.0, in_flight=100)


@pytest.fixture
def engine(clean_database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("TWEETMILL_ENGINE", ECHO["TWEETMILL_ENGINE"])
    get_settings.cache_clear()
    return clean_database


def promote(name: str, stream: str | None = None, **options: Any) -> None:
    with database.session() as session:
        service.promote(session, models.resolve(session, name), stream, **options)


def make(engine: Engine, held: Held, count: int) -> None:
    """Let tweets arrive for so many shards, and make these."""
    known = rows(engine, "SELECT count(*) FROM tweet")[0][0]
    with transaction() as connection:
        store.store(connection, held, [tweet(f"{known + number}") for number in range(2 * count)])
    for _ in range(count):
        assert streams.make_shard(held, LIMITS, guard=True) == 2


def test_shards_of_a_stream_follow_each_promotion_and_its_canary_has_its_share(engine: Engine) -> None:
    first, second, third = (add_model(engine, name) for name in ("first", "second", "third"))
    promote("first")
    held = begin(model="in-service")

    make(engine, held, 2)
    promote("second", "club")
    make(engine, held, 2)
    promote("third", "club", share=50)
    make(engine, held, 4)
    with database.session() as session:
        service.rollback(session, "club")
    make(engine, held, 2)
    work_off(engine)

    assigned = [model for (model,) in rows(engine, "SELECT model FROM stream_shard WHERE stream = 'club' ORDER BY first")]
    assert assigned == [first, first, second, second, second, third, second, third, second, second]
    assert rows(engine, "SELECT job FROM summary GROUP BY job HAVING count(DISTINCT model) > 1") == []
    wrote = rows(engine, "SELECT s.job FROM summary s JOIN stream_shard h ON h.job = s.job WHERE s.model <> h.model")
    assert wrote == []
    assert rows(engine, "SELECT count(*), count(DISTINCT tweet) FROM summary") == [(20, 20)]
    sums = rows(engine, "SELECT block, candidate, rows FROM canary_shard ORDER BY block, candidate")
    assert sums == [(2, False, 2), (2, True, 2), (3, False, 2), (3, True, 2)]


def test_blocks_of_several_streams_are_their_own_and_count_once_all_of_their_shards_have_ended(engine: Engine) -> None:
    add_model(engine, "first"), add_model(engine, "second")
    promote("first")
    promote("second", share=25)
    held = {name: begin(name, model="in-service") for name in ("club", "news")}

    def seen() -> tuple[int, int]:
        with database.session() as session:
            [canary] = service.canaries(session)
            return watch.compared(session, canary).rows

    for name in held:
        make(engine, held[name], 3)
    work_off(engine)
    assert rows(engine, "SELECT stream, block, candidate, count(*) FROM canary_shard GROUP BY 1, 2, 3 ORDER BY 1") == [
        ("club", 0, False, 3),
        ("news", 0, False, 3),
    ]
    assert seen() == (0, 0), "neither has the candidate's shard"
    make(engine, held["news"], 1)
    assert seen() == (0, 0), "it has not ended"
    work_off(engine)
    assert seen() == (2, 6), "one block is whole, and not mixed with the other stream's"
    make(engine, held["club"], 2)
    work_off(engine)
    assert seen() == (4, 12)
