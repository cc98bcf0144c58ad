"""Shards, end to end with a tiny model: every tweet gets one summary, whatever is killed, repeated or equal."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, Row, text

from schemas.payloads import ShardSpec, SummarizationSpec
from schemas.records import TweetRecord
from tasks import summarization
from tests.integration.in_process import work_off
from tests.integration.ingest.test_ingest import Line
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.inference import engines
from workers.inference.guard import Guarded
from workers.inference.job import summarize
from workers.inference.writer import Writer
from workers.ingest.tweets import copy_tweets
from workers.jobs import attempt, maintenance
from workers.jobs.context import JobContext, Outcome
from workers.settings import get_settings
from workers.text.instructions import PROMPT_VERSION

TEXTS = [f"The bus number {number} was late again and I missed my train to Oslo!" for number in range(10)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_adapter(base, tmp_path_factory.mktemp("tiny") / "adapter")


@pytest.fixture
def model(clean_database: Engine, base: Path, adapter: Path) -> Iterator[int]:
    """A tuned model, and ten tweets to summarise."""
    copy_tweets((Line(n, TweetRecord(id=str(n), text=tweet, source="s")) for n, tweet in enumerate(TEXTS)), origin="test")
    with clean_database.begin() as connection:
        new = connection.execute(
            text(
                "INSERT INTO model (name, base, method, stage, adapter_uri) "
                "VALUES ('tiny', :base, 'lora', 'summary', :adapter) RETURNING id"
            ),
            {"base": str(base), "adapter": str(adapter)},
        ).scalar_one()
    yield int(new)
    engines._warm.clear()


def rows(engine: Engine, statement: str, **values: object) -> list[Row]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement), values))


def summaries(engine: Engine) -> list[Row]:
    return rows(engine, "SELECT * FROM summary ORDER BY tweet")


def state_of(engine: Engine, job: uuid.UUID) -> str:
    return str(rows(engine, "SELECT state FROM job WHERE id = :job", job=job)[0].state)


def results(engine: Engine, job: uuid.UUID) -> dict[str, int]:
    """The results of all shards, summed."""
    counts: dict[str, int] = {}
    for row in rows(engine, "SELECT result FROM job WHERE parent = :job", job=job):
        for name, value in row.result.items():
            counts[name] = counts.get(name, 0) + value
    return counts


def flush_every_three_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEWEST_ROWS", "MOST_ROWS"):
        monkeypatch.setattr(f"workers.inference.writer.{name}", 3)
    monkeypatch.setattr("workers.inference.writer.SECOND_TRIES", 1)
    monkeypatch.setattr("workers.inference.job.FLUSH_SECONDS", 0.0)


def ask(model: int, **options: object) -> uuid.UUID:
    return summarization.enqueue(SummarizationSpec(model_id=model, **options)).job


def test_every_tweet_gets_its_summary_and_the_last_shard_closes_the_job(clean_database: Engine, model: int) -> None:
    job = ask(model, shard_size=4)
    assert state_of(clean_database, job) == "running"

    assert work_off(clean_database) == 3

    stored = summaries(clean_database)
    assert [row.tweet for row in stored] == sorted(str(number) for number in range(10))
    assert {(row.model, row.prompt_version) for row in stored} == {(model, PROMPT_VERSION)}
    assert all(row.summary and row.cleaned and row.worker and row.tokens_out > 0 for row in stored)
    assert state_of(clean_database, job) == "done"
    assert results(clean_database, job)["rows"] == 10


def test_the_guard_flags_what_a_random_model_writes_and_puts_the_tweets_opening_in_its_place(clean_database: Engine, model: int) -> None:
    ask(model)
    work_off(clean_database)

    # Noise never passes for a summary.
    assert all(row.flags and row.tries == 2 for row in summaries(clean_database))
    replaced = [row for row in summaries(clean_database) if "fallback" in row.flags]
    assert replaced
    for row in replaced:
        assert row.summary.startswith("The bus number")


def test_without_the_guard_the_models_first_answer_is_kept(clean_database: Engine, model: int) -> None:
    ask(model, guard=False)
    work_off(clean_database)

    assert all(row.tries == 1 and "fallback" not in row.flags for row in summaries(clean_database))


def test_what_is_summarised_is_not_done_again(clean_database: Engine, model: int) -> None:
    first = ask(model)
    work_off(clean_database)
    before = summaries(clean_database)

    second = ask(model)
    work_off(clean_database)

    assert summaries(clean_database) == before
    assert results(clean_database, first)["rows"] == 10
    assert (results(clean_database, second)["rows"], results(clean_database, second)["reused"]) == (0, 10)


def test_equal_tweets_are_computed_once_and_stored_for_each(clean_database: Engine, model: int) -> None:
    twins = (Line(1, TweetRecord(id=name, text=TEXTS[0], source="s")) for name in ("twin a", "twin b"))
    ask(model)
    work_off(clean_database)
    copy_tweets(twins, origin="test")

    again = ask(model)
    work_off(clean_database)

    said = {row.tweet: row.summary for row in summaries(clean_database)}
    assert said["twin a"] == said["twin b"] == said["0"]
    assert (results(clean_database, again)["copied"], results(clean_database, again)["rows"]) == (2, 0)


def test_a_shard_that_was_killed_goes_on_where_its_rows_end(clean_database: Engine, model: int, monkeypatch: pytest.MonkeyPatch) -> None:
    flush_every_three_rows(monkeypatch)
    job = ask(model)
    shard = rows(clean_database, "SELECT id FROM job WHERE parent = :job", job=job)[0].id

    class Killed(BaseException):
        pass

    def killed_after_two_flushes(running: JobContext, spec: ShardSpec) -> Outcome:
        def check() -> None:
            if len(summaries(clean_database)) >= 6:
                raise Killed

        monkeypatch.setattr(running, "check", check)
        return summarize(running, spec)

    with pytest.raises(Killed):
        attempt.run(str(shard), "first", ShardSpec, killed_after_two_flushes)
    kept = {row.tweet: row for row in summaries(clean_database)}
    assert (len(kept), state_of(clean_database, job)) == (6, "running")

    with clean_database.begin() as connection:
        connection.execute(text("UPDATE job SET lease_until = now() - interval '1 second' WHERE id = :shard"), {"shard": shard})
        assert maintenance.reap(connection) == [shard]
    attempt.run(str(shard), "second", ShardSpec, summarize)

    after = {row.tweet: row for row in summaries(clean_database)}
    assert len(after) == 10
    assert {row.worker for tweet, row in after.items() if tweet not in kept} == {"second"}
    assert all(after[tweet] == row for tweet, row in kept.items())
    assert (results(clean_database, job)["rows"], state_of(clean_database, job)) == (4, "done")


def test_a_shard_that_is_killed_while_tweets_wait_for_their_second_try_writes_each_once(
    clean_database: Engine, model: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush_every_three_rows(monkeypatch)
    monkeypatch.setattr("workers.inference.writer.SECOND_TRIES", 100)  # those of all calls wait for the end
    job = ask(model)
    shard = rows(clean_database, "SELECT id FROM job WHERE parent = :job", job=job)[0].id
    finish = Writer._finish

    class Killed(BaseException):
        pass

    def killed(*_: object) -> list[Guarded]:
        raise Killed

    monkeypatch.setattr(Writer, "_finish", killed)
    with pytest.raises(Killed):
        attempt.run(str(shard), "first", ShardSpec, summarize)
    sure = {row.tweet for row in summaries(clean_database)}
    assert len(sure) < 10, "random weights are seldom sure"
    monkeypatch.setattr(Writer, "_finish", finish)
    with clean_database.begin() as connection:
        connection.execute(text("UPDATE job SET lease_until = now() - interval '1 second' WHERE id = :shard"), {"shard": shard})
        assert maintenance.reap(connection) == [shard]
    attempt.run(str(shard), "second", ShardSpec, summarize)

    after = {row.tweet: row.worker for row in summaries(clean_database)}
    assert len(after) == 10
    assert {tweet for tweet, worker in after.items() if worker == "second"} == after.keys() - sure
    assert state_of(clean_database, job) == "done"


def test_a_worker_that_lost_its_lease_writes_nothing_more(clean_database: Engine, model: int, monkeypatch: pytest.MonkeyPatch) -> None:
    flush_every_three_rows(monkeypatch)
    job = ask(model)
    shard = rows(clean_database, "SELECT id FROM job WHERE parent = :job", job=job)[0].id

    def taken_over_after_the_first_flush(running: JobContext, spec: ShardSpec) -> Outcome:
        def check() -> None:
            if summaries(clean_database):
                with clean_database.begin() as connection:
                    connection.execute(text("UPDATE job SET attempt = attempt + 1 WHERE id = :shard"), {"shard": shard})

        monkeypatch.setattr(running, "check", check)
        return summarize(running, spec)

    attempt.run(str(shard), "zombie", ShardSpec, taken_over_after_the_first_flush)

    assert len(summaries(clean_database)) == 3
    assert state_of(clean_database, shard) == "running"


def test_tweets_of_a_dataset_and_of_other_sources_are_left_out(clean_database: Engine, model: int) -> None:
    copy_tweets([Line(1, TweetRecord(id="elsewhere", text="Another source entirely.", source="other"))], origin="test")
    with clean_database.begin() as connection:
        dataset = connection.execute(text("INSERT INTO dataset (name, fingerprint) VALUES ('d', 'f') RETURNING id")).scalar_one()
        connection.execute(
            text(
                "INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, tweet, split, cluster) "
                "VALUES (:dataset, 'k', 'summary', 'p', 't', 'human', '3', 'train', 0)"
            ),
            {"dataset": dataset},
        )

    ask(model, source="s", exclude_dataset="d")
    work_off(clean_database)

    assert {row.tweet for row in summaries(clean_database)} == {str(number) for number in range(10)} - {"3"}


def test_a_limited_draw_is_the_same_for_the_same_seed(clean_database: Engine, model: int) -> None:
    def drawn(seed: int) -> set[str]:
        return {
            row.tweet for row in rows(clean_database, "SELECT tweet FROM selection WHERE job = :job", job=ask(model, limit=4, seed=seed))
        }

    assert len(drawn(1)) == 4
    assert drawn(1) == drawn(1)
    assert any(drawn(1) != drawn(seed) for seed in (2, 3, 4))


def test_a_selection_may_take_longer_than_other_statements(clean_database: Engine, model: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END$$"
    with clean_database.begin() as connection:
        connection.execute(text(slow))
        connection.execute(text("CREATE TRIGGER slow AFTER INSERT ON selection FOR EACH STATEMENT EXECUTE FUNCTION slow()"))
    monkeypatch.setenv("TWEETMILL_STATEMENT_TIMEOUT", "0.3")
    get_settings.cache_clear()
    try:
        job = ask(model)
    finally:
        monkeypatch.delenv("TWEETMILL_STATEMENT_TIMEOUT")
        get_settings.cache_clear()
        with clean_database.begin() as connection:
            connection.execute(text("DROP FUNCTION slow CASCADE"))
    assert len(rows(clean_database, "SELECT 1 FROM selection WHERE job = :job", job=job)) == len(TEXTS)


def test_nothing_to_summarise_is_done_at_once(clean_database: Engine, model: int) -> None:
    assert state_of(clean_database, ask(model, source="unknown")) == "done"


def test_an_adapter_that_is_gone_fails_the_shard_and_not_the_worker(clean_database: Engine, model: int) -> None:
    with clean_database.begin() as connection:
        connection.execute(text("UPDATE model SET adapter_uri = '/nowhere'"))
    job = ask(model)

    work_off(clean_database)

    shard = rows(clean_database, "SELECT state, failures, error FROM job WHERE parent = :job", job=job)[0]
    assert shard.state in ("queued", "failed")
    assert shard.error["message"]
    assert summaries(clean_database) == []
