"""Pruning: what is old goes, batch by batch; what is new, what runs, what was learnt from and what is a result stays."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from schemas.states import RETRIABLE
from tests.integration.verbs import answer, complaint, printed
from tests.support.everywhere import add_example, add_job, add_tweet, insert
from workers.catalog.removal import pruning
from workers.database import get_engine
from workers.jobs import fanout
from workers.settings import get_settings

OLD, NEW = "now() - interval '100 days'", "now() - interval '10 days'"
AGE = timedelta(days=90)


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    """A model to write summaries with."""
    with clean_database.begin() as connection:
        insert(connection, "model", name="m", base="b", method="none", stage="summary")
    return clean_database


def tweet(connection: Connection, name: str, when: str = OLD) -> str:
    """A tweet with a summary."""
    add_tweet(connection, name, f"the {name} is late")
    insert(connection, "summary", tweet=name, model=1, prompt_version="1", cleaned="c", summary="s", attempt=1)
    connection.execute(text(f"UPDATE tweet SET received_at = {when} WHERE id = :name"), {"name": name})  # noqa: S608
    return name


def job(connection: Connection, kind: str, state: str = "done", when: str = OLD, **more: Any) -> uuid.UUID:
    """A job with an event, that ended at that time."""
    new = add_job(connection, kind, state, **more)
    insert(connection, "job_event", job=new, attempt=1, event="log")
    dated = f"UPDATE job SET created_at = {when}, finished_at = CASE WHEN state IN ('queued', 'running') THEN NULL ELSE {when} END"  # noqa: S608
    connection.execute(text(f"{dated} WHERE id = :job"), {"job": new})
    connection.execute(text(f"UPDATE job_event SET at = {when} WHERE job = :job"), {"job": new})  # noqa: S608
    return new


def select(connection: Connection, parent: uuid.UUID, *tweets: str) -> None:
    for ordinal, name in enumerate(tweets):
        insert(connection, "selection", job=parent, ordinal=ordinal, tweet=name)


def left(engine: Engine, table: str, column: str = "id") -> set[Any]:
    with engine.connect() as connection:
        return set(connection.execute(text(f"SELECT {column} FROM {table}")).scalars())  # noqa: S608


class TestTweets:
    def test_old_ones_go_with_their_summaries_and_new_ones_stay(self, engine):
        with engine.begin() as connection:
            tweet(connection, "old")
            tweet(connection, "new", NEW)
        done = pruning.prune(AGE)
        assert (done.counts["tweets"], done.counts["summaries"]) == (1, 1)
        assert left(engine, "tweet") == left(engine, "summary", "tweet") == {"new"}

    def test_what_a_dataset_or_a_pair_is_about_stays(self, engine):
        with engine.begin() as connection:
            for name in ("learnt", "paired", "neither"):
                tweet(connection, name)
            dataset = insert(connection, "dataset", name="d", fingerprint="f")
            add_example(connection, dataset, "p", "t", "learnt")
            insert(connection, "curated", collection="c", position=1, key="paired", clean="c", summary="s")
        pruning.prune(AGE)
        assert left(engine, "tweet") == {"learnt", "paired"}

    def test_unless_that_is_to_go_too_which_the_dataset_then_counts(self, engine):
        with engine.begin() as connection:
            tweet(connection, "learnt")
            dataset = insert(connection, "dataset", name="d", fingerprint="f")
            add_example(connection, dataset, "p", "t", "learnt")
        done = pruning.prune(AGE, keep_training=False)
        assert [(loss.dataset, loss.examples) for loss in done.losses] == [("d", 1)]
        assert left(engine, "tweet") == left(engine, "example", "key") == set()

    @pytest.mark.parametrize(("parent", "shard"), [("running", "queued"), ("cancelled", "running")])
    def test_what_an_unfinished_job_is_about_stays(self, engine, parent, shard):
        with engine.begin() as connection:
            whole = job(connection, "summarization.summarize", parent)
            job(connection, "summarization.summarize_shard", shard, parent=whole)
            select(connection, whole, tweet(connection, "wanted"))
            tweet(connection, "unwanted")
        done = pruning.prune(AGE)
        assert left(engine, "tweet") == left(engine, "selection", "tweet") == {"wanted"}
        assert done.counts["jobs"] == 0

    def test_of_a_stream_its_backlog_and_its_unfinished_shards_stay_though_it_goes_on(self, engine):
        with engine.begin() as connection:
            whole = job(connection, "summarization.stream", "running")
            insert(connection, "stream", name="live", address="a", model="m", state="running", job=whole, arrived=3, sharded=2)
            for ordinal, (name, state) in enumerate({"done": "done", "under way": "queued", "waiting": None}.items(), 1):
                insert(connection, "arrival", stream="live", ordinal=ordinal, tweet=tweet(connection, name), tokens=1)
                if state is not None:
                    shard = job(connection, "summarization.summarize_shard", state, parent=whole)
                    numbers = {"first": ordinal, "last": ordinal, "tweets": 1, "tokens": 1}
                    insert(connection, "stream_shard", job=shard, stream="live", model=1, **numbers)
                    insert(connection, "selection", job=whole, ordinal=ordinal, tweet=name)
        done = pruning.prune(AGE)
        assert left(engine, "tweet") == left(engine, "arrival", "tweet") == {"under way", "waiting"}
        assert (done.counts["jobs"], len(left(engine, "job"))) == (1, 2)

    def test_they_may_come_again_unlike_forgotten_ones(self, engine):
        with engine.begin() as connection:
            tweet(connection, "old")
        pruning.prune(AGE)
        assert left(engine, "forgotten", "kind") == set()

    def test_more_than_one_part_takes_goes_too(self, engine, monkeypatch):
        monkeypatch.setattr(pruning, "_AT_ONCE", 7)
        with engine.begin() as connection:
            for number in range(30):
                tweet(connection, f"t{number}", OLD if number % 3 else NEW)
            whole = job(connection, "summarization.summarize")
            select(connection, whole, *(f"t{number}" for number in range(30)))
            for _ in range(20):
                job(connection, "summarization.summarize_shard", parent=whole)
        told: list[int] = []
        done = pruning.prune(AGE, on_progress=lambda counts: told.append(counts.total()))
        assert {name: done.counts[name] for name in ("tweets", "selections", "jobs", "events")} == {
            "tweets": 20, "selections": 30, "jobs": 21, "events": 21,
        }  # fmt: skip
        assert len(left(engine, "tweet")) == 10
        assert told == sorted(told)


class TestJobs:
    def test_ended_summaries_go_with_their_shards_selection_and_events(self, engine):
        with engine.begin() as connection:
            whole = job(connection, "summarization.summarize")
            job(connection, "summarization.summarize_shard", parent=whole)
            select(connection, whole, tweet(connection, "new", NEW))
        done = pruning.prune(AGE)
        assert {name: done.counts[name] for name in ("tweets", "selections", "jobs", "events")} == {
            "tweets": 0, "selections": 1, "jobs": 2, "events": 2,
        }  # fmt: skip
        assert left(engine, "job") == left(engine, "selection", "tweet") == set()

    def test_a_summary_outlives_the_job_that_wrote_it(self, engine):
        with engine.begin() as connection:
            tweet(connection, "new", NEW)
            shard = job(connection, "summarization.summarize_shard", parent=job(connection, "summarization.summarize"))
            connection.execute(text("UPDATE summary SET job = :job"), {"job": shard})
        pruning.prune(AGE)
        assert left(engine, "summary", "job") == {None}

    def test_results_stay_and_what_ended_without_one_goes(self, engine):
        with engine.begin() as connection:
            kept = {job(connection, kind) for kind in ("training.train", "synthesis.synthesize", "evaluation.compare", "noise.fit")}
            failed = {job(connection, "training.train", state) for state in ("failed", "quarantined", "cancelled")}
            kept.add(made := job(connection, "training.train", "failed"))
            connection.execute(text("UPDATE model SET job = :job"), {"job": made})
        done = pruning.prune(AGE)
        assert left(engine, "job") == kept
        assert set(done.trainings) == failed
        assert left(engine, "job_event", "job") == set()

    def test_what_is_new_queued_or_running_stays_with_its_events(self, engine):
        with engine.begin() as connection:
            kept = {
                job(connection, "summarization.summarize", when=NEW),
                *(job(connection, "x.y", state) for state in ("queued", "running")),
            }
        pruning.prune(AGE)
        assert left(engine, "job") == left(engine, "job_event", "job") == kept

    def test_old_events_of_a_long_job_that_ended_lately_go_alone(self, engine):
        with engine.begin() as connection:
            long = job(connection, "training.train")
            connection.execute(text(f"UPDATE job SET finished_at = {NEW}"))  # noqa: S608
        assert pruning.prune(AGE).counts["events"] == 1
        assert left(engine, "job") == {long}


class TestWhatIsRetriedMeanwhile:
    @pytest.fixture
    def failed(self, engine):
        """A parent whose shard failed, with its selection; and a training of two nodes."""
        with engine.begin() as connection:
            whole = job(connection, "summarization.summarize", "failed", remaining=0)
            shard = job(connection, "summarization.summarize_shard", "failed", parent=whole)
            select(connection, whole, tweet(connection, "wanted", NEW))
            leader = job(connection, "training.train", "failed")
            job(connection, "training.member", "done", parent=leader)
        return shard, leader

    def test_stays_with_all_that_it_needs(self, engine, failed):
        """Between the look at the jobs and their removal."""
        todo = list(failed)

        def retry(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if " AS goes" in statement:
                with engine.begin() as other:
                    while todo:
                        fanout.retry(other, RETRIABLE, todo.pop())

        event.listen(get_engine(), "after_cursor_execute", retry)
        try:
            done = pruning.prune(AGE)
        finally:
            event.remove(get_engine(), "after_cursor_execute", retry)
        assert not todo
        assert (done.counts["jobs"], done.trainings) == (0, ())
        assert (len(left(engine, "job")), left(engine, "selection", "tweet"), left(engine, "tweet")) == (4, {"wanted"}, {"wanted"})

    def test_it_stays_while_the_retry_is_not_committed_and_nothing_waits(self, engine, failed):
        with engine.begin() as other:
            fanout.retry(other, RETRIABLE, failed[0])
            assert pruning.prune(AGE).counts["jobs"] == 2
        assert (len(left(engine, "job")), left(engine, "selection", "tweet")) == (2, {"wanted"})

    @pytest.mark.parametrize("of_stream", [False, True])
    def test_its_tweets_stay_however_old_while_the_retry_is_not_committed(self, engine, of_stream):
        with engine.begin() as connection:
            old = tweet(connection, "old")
            whole = job(connection, f"summarization.{'stream' if of_stream else 'summarize'}", "failed", NEW, remaining=0)
            shard = job(connection, "summarization.summarize_shard", "failed", NEW, parent=whole)
            select(connection, whole, old)
            if of_stream:
                insert(connection, "stream", name="live", address="a", model="m", state="stopped", arrived=1, sharded=1, job=whole)
                insert(connection, "arrival", stream="live", ordinal=1, tweet=old, tokens=1)
                insert(connection, "stream_shard", job=shard, stream="live", first=1, last=1, model=1, tweets=1, tokens=1)
        with engine.begin() as other:
            fanout.retry(other, RETRIABLE, shard)
            assert pruning.prune(AGE).counts["tweets"] == 0
        assert pruning.prune(AGE).counts["tweets"] == 0, "it is queued"
        with engine.begin() as other:
            fanout.cancel(other, shard)
        assert pruning.prune(AGE).counts["tweets"] == 1

    def test_what_nobody_retries_goes(self, engine, failed):
        done = pruning.prune(AGE)
        assert (done.counts["jobs"], done.counts["selections"], done.trainings) == (4, 1, (failed[1],))


class TestCanaries:
    def test_shards_by_which_one_is_judged_stay_until_it_ends(self, engine):
        with engine.begin() as connection:
            running, ended = (
                insert(connection, "promotion", name="m", model=1, share=10, state=state, command="promote")
                for state in ("canary", "stopped")
            )
            kept = set()
            for number, (promotion, state) in enumerate([(running, "done"), (running, "failed"), (ended, "done")]):
                part = {"canary": {"promotion": promotion, "block": number, "candidate": True}}
                whole = job(connection, "summarization.stream")
                shard = job(connection, "summarization.summarize_shard", state, parent=whole, payload=part)
                figures = dict.fromkeys(("rows", "faulty", "fallbacks", "retried", "words"), 1)
                insert(connection, "canary_shard", job=shard, promotion=promotion, block=number, candidate=True, **figures)
                kept |= {whole, shard} if promotion == running else set()
        pruning.prune(AGE)
        assert left(engine, "job") == kept
        assert left(engine, "canary_shard", "promotion") == {running}


class TestTheVerb:
    def test_it_says_what_went(self, engine, capsys):
        with engine.begin() as connection:
            tweet(connection, "old")
        said = printed(capsys, "prune", "--older-than", "90d")
        assert ": 1 tweets, 1 summaries." in said
        assert "MiB before" in said
        assert ": nothing." in printed(capsys, "prune", "--older-than", "12w")

    def test_a_dry_run_counts_all_of_it_and_removes_nothing(self, engine, capsys):
        with engine.begin() as connection:
            whole = job(connection, "summarization.summarize")
            job(connection, "summarization.summarize_shard", parent=whole)
            select(connection, whole, tweet(connection, "old"))
        told = answer(capsys, "prune", "--older-than", "2000h", "--dry-run", "--json")
        assert told["counts"] == {"tweets": 1, "summaries": 1, "selections": 1, "examples": 0, "events": 2, "jobs": 2}
        assert told["dry_run"]
        assert left(engine, "tweet") == {"old"}
        assert len(left(engine, "job")) == 2

    def test_the_folder_of_a_training_that_is_gone_goes_too(self, engine, capsys):
        with engine.begin() as connection:
            gone = job(connection, "training.train", "failed")
        folder = get_settings().runs_folder / str(gone)
        folder.mkdir(parents=True)
        printed(capsys, "prune", "--older-than", "90d")
        assert not folder.exists()

    @pytest.mark.parametrize("age", ["90", "d", "0d", "1.5d", "90 days", "-1d"])
    def test_an_age_that_is_none_is_refused(self, engine, capsys, age):
        assert "such as 90d" in complaint(capsys, 2, "prune", f"--older-than={age}")

    def test_as_json_it_prints_nothing_else(self, engine, capsys):
        assert json.loads(printed(capsys, "prune", "--older-than", "90d", "--json"))["counts"]["tweets"] == 0
