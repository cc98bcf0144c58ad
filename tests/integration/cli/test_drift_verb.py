"""drift: the newest tweets beside what a model learnt from, and a sample that `import` and `review` take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.records import TweetRecord
from tests.integration.in_process import working
from tests.integration.ingest.test_ingest import Line
from tests.integration.verbs import answer, complaint, printed
from workers.ingest.tweets import copy_tweets
from workers.text.instructions import PROMPT_VERSION

PLACES = ("Oslo", "Bergen", "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Lisbon")


def careful(number: int) -> str:
    return f"The library in {PLACES[number % 10]} opens at {number % 24}, and museum number {number} does not."


def wild(number: int) -> str:
    return (
        f"@anna{number} OMG zyx{number} qwopping flurbs 2 {PLACES[number % 10]} is sooo laaate agian smh 😂😂 #fail http://t.co/x{number}"
    )


def ingest(prefix: str, tweets: list[str], source: str = "s") -> None:
    records = (TweetRecord(id=f"{prefix}{number}", text=tweet, source=source) for number, tweet in enumerate(tweets))
    copy_tweets((Line(number, record) for number, record in enumerate(records)), origin="test")


@pytest.fixture
def model(clean_database: Engine) -> int:
    """A model that learnt from 200 careful texts; nothing has come in since."""
    with clean_database.begin() as connection:
        dataset = connection.execute(text("INSERT INTO dataset (name, fingerprint) VALUES ('taught', 'f') RETURNING id")).scalar_one()
        example = (
            "INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, split, cluster) "
            "VALUES (:dataset, :key, 'summary', :prompt, 'x', 'human', 'train', :cluster)"
        )
        rows = [{"dataset": dataset, "key": f"{n:064x}", "prompt": careful(2000 + n), "cluster": n} for n in range(200)]
        connection.execute(text(example), rows)
        new = "INSERT INTO model (name, base, method, stage, dataset) VALUES ('mine', 'b', 'lora', 'summary', :dataset) RETURNING id"
        return int(connection.execute(text(new), {"dataset": dataset}).scalar_one())


def summarized(engine: Engine, model: int, flags: list[str], tries: int) -> None:
    """Every tweet has a summary of the model, with these flags."""
    statement = (
        "INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, flags, tries, attempt) "
        "SELECT id, :model, :version, 'c', 'The model wrote ' || id || '.', cast(:flags AS jsonb), :tries, 1 FROM tweet"
    )
    with engine.begin() as connection:
        connection.execute(text(statement), {"model": model, "version": PROMPT_VERSION, "flags": json.dumps(flags), "tries": tries})


def evaluated(engine: Engine, model: int) -> None:
    result = {"guard": {"n": 300, "retried": 30, "fallbacks": 3}}
    statement = (
        "INSERT INTO job (id, kind, queue, idempotency_key, payload, state, result) VALUES (gen_random_uuid(), 'evaluation.evaluate',"
        " 'evaluation', 'e', cast(:payload AS jsonb), 'done', cast(:result AS jsonb))"
    )
    with engine.begin() as connection:
        connection.execute(text(statement), {"payload": json.dumps({"model_id": model}), "result": json.dumps(result)})


def drifted(result: dict[str, Any]) -> set[str]:
    return {figure["name"] for figure in result["figures"] if figure["drifted"]}


def test_tweets_like_those_that_were_learnt_are_no_drift(clean_database: Engine, model: int, capsys: pytest.CaptureFixture[str]) -> None:
    ingest("same", [careful(number) for number in range(1000, 1200)])
    with working(clean_database):
        result = answer(capsys, "drift", "--model", "mine", "--json")

    assert (result["verdict"], result["incoming"], result["learnt"], drifted(result)) == ("no drift seen", 200, 200, set())
    assert len(result["figures"]) > 40
    assert all({"value", "n", "baseline", "baseline_n", "low", "high", "adjusted_p"} <= figure.keys() for figure in result["figures"])


def test_what_changed_is_told_in_words_and_the_sample_goes_through_import_to_review(
    clean_database: Engine, model: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest("same", [careful(number) for number in range(1000, 1100)])
    ingest("wild", [wild(number) for number in range(100)])
    summarized(clean_database, model, ["new_word"], tries=2)
    evaluated(clean_database, model)
    sample = tmp_path / "next.jsonl"
    monkeypatch.setenv("COLUMNS", "80")
    with working(clean_database):
        page = " ".join(printed(capsys, "drift", "--model", "mine", "--sample-to", sample, "--sample", 20).split())
        result = answer(capsys, "drift", "--model", "mine", "--json")
        built = answer(capsys, "import", sample, "--form", "prompt-completion", "--dataset", "next", "--json")

    assert result["verdict"] == "drift"
    assert {"unknown words", "handles first", "emoji", "links", "retried"} <= drifted(result)
    assert "fallbacks" not in drifted(result)
    assert page.startswith("Tweets have changed since the model learnt. 200 tweets beside 200 training texts of taught.")
    assert "handles first: 50.0%, it was 0.0%" in result["says"]
    assert all(said in page for said in result["says"][:5])
    assert "Summaries with a serious flag" in page
    assert [point["flagged"] for point in result["over_time"]] == [1.0] * 24
    rows = [json.loads(row) for row in sample.read_text().splitlines()]
    assert len(rows) == 20
    assert all(row["tweet_id"].startswith("wild") and row["completion"] == f"The model wrote {row['tweet_id']}." for row in rows)
    assert built["counts"]["train"] == 20
    assert "OMG" not in json.dumps(result), "no text in a result"
    assert "`tweetmill review next` does" in printed(capsys, "review", "next", "--status")


def test_one_source_the_newest_and_another_dataset(clean_database: Engine, model: int, capsys: pytest.CaptureFixture[str]) -> None:
    ingest("wild", [wild(number) for number in range(150)], source="wild")
    ingest("same", [careful(number) for number in range(1000, 1150)], source="news")
    with clean_database.begin() as connection:
        connection.execute(text("UPDATE tweet SET received_at = now() - interval '2 days' WHERE source = 'wild'"))
    with working(clean_database):
        results = [
            answer(capsys, "drift", "--dataset", "taught", *asked, "--json")
            for asked in (("--source", "news"), ("--source", "wild"), ("--last", "150"), ("--hours", "24"), ("--last", "120"))
        ]

    assert [result["verdict"] for result in results] == ["no drift seen", "drift", "no drift seen", "no drift seen", "no drift seen"]
    assert [result["incoming"] for result in results] == [150, 150, 150, 150, 120]
    assert results[0]["over_time"] == []


def test_a_stream_has_its_own_tweets_and_the_model_that_writes_for_it(
    clean_database: Engine, model: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest("wild", [wild(number) for number in range(150)])
    ingest("same", [careful(number) for number in range(1000, 1150)])
    with clean_database.begin() as connection:
        for name, beginning in (("calm", "same"), ("loud", "wild")):
            new = "INSERT INTO stream (name, address, model, state) VALUES (:name, 'x', 'mine', 'stopped')"
            connection.execute(text(new), {"name": name})
            arrived = (
                "INSERT INTO arrival (stream, ordinal, tweet, tokens) "
                "SELECT :name, row_number() OVER (ORDER BY id), id, 1 FROM tweet WHERE starts_with(id, :beginning)"
            )
            connection.execute(text(arrived), {"name": name, "beginning": beginning})
    with working(clean_database):
        calm, loud = (answer(capsys, "drift", "--stream", name, "--json") for name in ("calm", "loud"))

    assert (calm["verdict"], calm["incoming"], loud["verdict"], loud["incoming"]) == ("no drift seen", 150, "drift", 150)
    assert calm["dataset"] == "taught"
    assert "stream nobody: there is none" in complaint(capsys, 1, "drift", "--stream", "nobody")
    assert "give one of both" in complaint(capsys, 2, "drift", "--stream", "calm", "--source", "s")


def test_too_few_tweets_are_told_and_what_is_not_there_is_named(
    clean_database: Engine, model: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest("same", [careful(number) for number in range(1000, 1010)])
    with working(clean_database):
        page = printed(capsys, "drift", "--model", "mine")
        refused = complaint(capsys, 1, "drift", "--model", "mine", "--language", "xx")

    assert page.startswith("Too few to tell. 10 tweets beside 200 training texts")
    assert "xx is not known" in refused
    assert "dataset nobody: there is none" in complaint(capsys, 1, "drift", "--dataset", "nobody")
    assert "no model is in service by default" in complaint(capsys, 1, "drift")
