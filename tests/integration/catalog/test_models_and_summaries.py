"""What the catalog says of models, and of the summaries that a job's tweets have."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine, text

from schemas.payloads import Stage
from tests.support.reviews import Row, add_dataset
from workers import database
from workers.catalog import models, summaries, tweets
from workers.errors import NotFound

JOB = uuid.UUID(int=1)
_ANOTHER_VERSION = """
INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, attempt, created_at)
VALUES ('1', :model, :version, 'c', :wrote, 1, :at)
"""
LONG = "the bus number nine is late again and nobody at the stop knows why"


@pytest.fixture
def model(clean_database: Engine) -> int:
    """A model, another one whose name is the id of the first, and a job about two tweets."""
    with clean_database.begin() as connection:
        connection.execute(
            text("INSERT INTO job (id, kind, queue, idempotency_key) VALUES (:job, 'summarization.summarize', 'summarization', 'k')"),
            {"job": JOB},
        )
        connection.execute(
            text("INSERT INTO tweet (id, source, text, text_hash) VALUES ('1', 'x', :long, 'a'), ('2', 'y', 'late', 'b')"), {"long": LONG}
        )
        connection.execute(text("INSERT INTO selection (job, ordinal, tweet) VALUES (:job, 0, '1'), (:job, 1, '2')"), {"job": JOB})
        ids = connection.execute(
            text(
                "INSERT INTO model (name, base, method, stage, adapter_uri, details) VALUES "
                "('first', 'b', 'lora', 'summary', '/a', '{\"dataset_fingerprint\": \"f\"}'), "
                "('second', 'b', 'lora', 'summary', NULL, '{}') "
                "RETURNING id"
            )
        ).scalars()
        first, second = ids
        connection.execute(text("UPDATE model SET name = :name WHERE id = :id"), {"name": str(first), "id": second})
        for tweet, worker, flags, tries in (("1", "w1", '["fallback"]', 2), ("2", "w2", "[]", 1)):
            connection.execute(
                text(
                    "INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, flags, tries, attempt, worker) "
                    "VALUES (:tweet, :model, 'v', 'c', 's', cast(:flags AS jsonb), :tries, 1, :worker)"
                ),
                {"tweet": tweet, "model": first, "flags": flags, "tries": tries, "worker": worker},
            )
    return int(first)


def test_a_model_is_found_by_name_before_id_and_as_the_latest(clean_database: Engine, model: int) -> None:
    with database.session(clean_database) as session:
        assert models.resolve(session, "first").id == model
        assert models.resolve(session, str(model)).id != model, "the other one has this name"
        assert models.resolve(session, "latest").id == max(each["id"] for each in models.listed(session))
        with pytest.raises(NotFound, match="there is none"):
            models.resolve(session, "third")


def test_a_model_can_be_read_when_its_session_is_over(clean_database: Engine, model: int) -> None:
    with database.session(clean_database) as session:
        found = models.by_id(session, model)

    assert (str(found.adapter), found.dataset_fingerprint) == ("/a", "f")


def test_summaries_are_counted_by_job(clean_database: Engine, model: int) -> None:
    with database.session(clean_database) as session:
        assert summaries.counts(session, JOB, model) == {"rows": 2, "workers": 2, "fallbacks": 1, "retried": 1}
        assert summaries.of_long_tweets(session, JOB, model, 10) == [(LONG, "s")]


def test_of_several_summaries_of_a_tweet_the_last_one_is_read(clean_database: Engine, model: int) -> None:
    rows = [
        Row(LONG, "The nine is late, clean.", split="test", tweet="1", stage=Stage.CLEAN),
        Row(LONG, "The nine is late.", split="test", tweet="1"),
        Row(LONG, "The nine is late again.", origin="import", split="test", tweet="1"),
        Row("late", "It is late.", tweet="2"),
    ]
    dataset = add_dataset(clean_database, rows, opened=False)
    with clean_database.begin() as connection:
        connection.execute(text(_ANOTHER_VERSION), {"model": model, "version": "w", "wrote": "last", "at": "2999-01-01"})
        connection.execute(text(_ANOTHER_VERSION), {"model": model, "version": "a", "wrote": "first", "at": "2001-01-01"})

    with database.session(clean_database) as session:
        assert summaries.of_long_tweets(session, JOB, model, 10) == [(LONG, "last")]
        (row,) = summaries.of_held_back(session, dataset, model, 10)
    assert (row["tweet"], row["wrote"]) == (LONG, "last")
    assert row["wanted"] in ("The nine is late.", "The nine is late again."), "one reference of what the model was taught"


def test_tweets_are_counted_by_source(clean_database: Engine, model: int) -> None:
    with database.session(clean_database) as session:
        assert (tweets.count(session), tweets.count(session, "x"), tweets.sources(session)) == (2, 1, ["x", "y"])
        assert (tweets.is_source(session, "x"), tweets.is_source(session, "z")) == (True, False)
