"""A canary over real shards: their sums are stored with them, and its figures stop it, promote it, or leave it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.records import TweetRecord
from tests.integration.in_process import work_off
from tests.integration.ingest.test_ingest import Line
from tests.integration.verbs import answer, printed
from tests.support.shards import Shards
from workers import database
from workers.canary import watch
from workers.catalog import models, service
from workers.inference import engines
from workers.inference.engine import Generation
from workers.ingest.tweets import copy_tweets

TWEETS = 2000
ROWS = 64


class ByModel:
    """An engine of which the adapter's name decides: `bad` invents a number, `good` says what the tweet says."""

    def generate(self, prompts: Sequence[Any], sampling: Any, adapter: Path | None = None, on_progress: Any = None) -> list[Generation]:
        assert adapter is not None
        invented = " 98765 times" if adapter.name == "bad" else ""
        return [Generation((f"The bus was late{invented}.",), tokens_in=9, tokens_out=5) for _ in prompts]


@pytest.fixture
def two_models(clean_database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """A good model in service and others on the same base; many tweets that differ."""
    tweets = (TweetRecord(id=f"{n:05}", text=f"omg the bus was late again in street {n}", source="s") for n in range(TWEETS))
    copy_tweets((Line(n, tweet) for n, tweet in enumerate(tweets)), origin="test")
    ids = {}
    with clean_database.begin() as connection:
        for name in ("good", "bad", "same"):
            folder = tmp_path / "adapters" / name
            folder.mkdir(parents=True)
            (folder / "adapter_model.safetensors").write_bytes(b"weights")
            new = "INSERT INTO model (name, base, method, stage, adapter_uri) VALUES (:name, 'b', 'lora', 'summary', :at) RETURNING id"
            ids[name] = int(connection.execute(text(new), {"name": name, "at": str(folder)}).scalar_one())
    monkeypatch.setattr("workers.inference.writer.engine_for", lambda *_, **__: ByModel())
    promote("good")
    yield ids
    engines._warm.clear()


def promote(name: str, **options: Any) -> None:
    with database.session() as session:
        service.promote(session, models.resolve(session, name), None, **options)


def work(engine: Engine, shards: Shards, most: int) -> int:
    """Make and do shards until the canary has ended; return how many that were."""
    for number in range(1, most + 1):
        shards.make()
        work_off(engine)
        with database.session() as session:
            if not service.canaries(session):
                return number
    return most


def rows(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement)))


def test_the_sums_of_a_shard_are_stored_with_it(clean_database: Engine, two_models: dict[str, int]) -> None:
    promote("bad", share=50)
    shards = Shards("news", ROWS)
    for _ in range(2):
        shards.make()
    work_off(clean_database)

    kept = {row.candidate: row for row in rows(clean_database, "SELECT * FROM canary_shard")}
    assert (kept[False].block, kept[True].block, kept[False].rows, kept[True].rows) == (0, 0, ROWS, ROWS)
    assert (kept[False].faulty, kept[False].retried, kept[False].fallbacks) == (0, 0, 0)
    assert (kept[True].faulty, kept[True].retried) == (ROWS, ROWS)
    assert kept[False].words == 4 * ROWS
    assert all(row.seconds > 0 for row in kept.values())


def test_a_shard_without_a_canary_leaves_no_sums(clean_database: Engine, two_models: dict[str, int]) -> None:
    Shards("news", ROWS).make()
    work_off(clean_database)

    assert len(rows(clean_database, "SELECT 1 FROM summary")) == ROWS
    assert rows(clean_database, "SELECT 1 FROM canary_shard") == []


def test_a_worse_model_is_stopped_and_its_stream_has_the_model_in_service_again(
    clean_database: Engine, two_models: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    promote("bad", share=50)
    shards = Shards("news", ROWS)

    assert work(clean_database, shards, 30) <= 16
    shards.make()
    work_off(clean_database)

    models_of = [
        row.model_id
        for row in rows(
            clean_database, "SELECT (payload->>'model_id')::int AS model_id FROM job WHERE parent IS NOT NULL ORDER BY created_at, id"
        )
    ]
    assert models_of[:2] == [two_models["good"], two_models["bad"]]
    assert models_of[-1] == two_models["good"]
    mixed = "SELECT job FROM summary GROUP BY job HAVING count(DISTINCT model) > 1"
    assert rows(clean_database, mixed) == []
    [stopped] = [row for row in answer(capsys, "promotions", "--json") if row["name"] == "bad"]
    assert stopped["state"] == "stopped"
    assert stopped["reason"].startswith("worse: 100.0% of its summaries are flagged or fallbacks, 0.0% of the model in service")
    assert stopped["figures"]["figures"]["faulty"]["low"] > 0
    assert "The bus" not in str(stopped), "no summary in what is kept of it"


def test_a_good_model_is_reported_as_ready_and_stays_a_canary(
    clean_database: Engine, two_models: dict[str, int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    promote("same", share=50)
    assert work(clean_database, Shards("news", ROWS), 30) == 30

    [canary] = [row for row in answer(capsys, "promotions", "--json") if row["state"] == "canary"]
    assert canary["figures"]["verdict"] == "ready"
    monkeypatch.setenv("COLUMNS", "80")
    page = printed(capsys, "promotions")
    assert "Canary same by default, 50 of 100 shards" in page
    assert "Ready to be promoted in full: 0.0% of its summaries are flagged or fallbacks" in " ".join(page.split())
    assert all(len(line) <= 80 for line in page.splitlines() if "%" in line and "95%" in line)


def test_with_auto_a_good_model_is_promoted_in_full_once_it_is_ready(clean_database: Engine, two_models: dict[str, int]) -> None:
    promote("same", share=50, auto=True)
    assert work(clean_database, Shards("news", ROWS), 30) < 30

    with database.session() as session:
        newest, canary, first = service.history(session)
    assert (newest.name, newest.state, newest.command, newest.previous) == ("same", "in_service", "auto", first.id)
    assert (canary.state, canary.reason, first.state) == ("replaced", "promoted in full", "replaced")


def test_a_model_whose_shards_fail_is_stopped_by_the_others_that_end(
    clean_database: Engine, two_models: dict[str, int], tmp_path: Path
) -> None:
    promote("bad", share=10)
    shards = Shards("news", 8)
    for _ in range(40):
        shards.make()
    with clean_database.begin() as connection:
        connection.execute(text("UPDATE job SET state = 'failed' WHERE (payload->'canary'->>'candidate')::boolean"))

    work_off(clean_database)

    with database.session() as session:
        newest = service.history(session)[0]
    assert (newest.state, newest.reason) == ("stopped", "worse: 4 of its shards failed, and 0 of the model in service")


def test_a_check_of_a_canary_that_has_ended_does_nothing(clean_database: Engine, two_models: dict[str, int]) -> None:
    promote("bad", share=50)
    with database.session() as session:
        [canary] = service.canaries(session)
        service.rollback(session, None)

    assert watch.check(canary.id) is None
