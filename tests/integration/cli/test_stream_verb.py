"""`tweetmill stream` and `streams`: what they say, refuse and print."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from tests.integration.in_process import work_off
from tests.integration.sources import test_x_stream as x
from tests.integration.verbs import answer, complaint, printed
from tests.support import http_stream_server
from tests.support.streams import add_model, begin, echoing, rows, shards, tweet
from workers.catalog import models, service
from workers.database import session, transaction
from workers.settings import get_settings
from workers.streams import arrivals


@pytest.fixture
def engine(clean_database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    return echoing(clean_database, monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of three tweets and a line that is none."""
    made = tmp_path / "club.jsonl"
    lines = [json.dumps({"id": str(number), "text": f"omg the bus number {number} was late AGAIN"}) for number in range(3)]
    made.write_text("\n".join([*lines, '{"id": "4"}']) + "\n")
    return made


def test_a_file_is_summarised_and_the_stream_says_what_became_of_it(engine: Engine, path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["stream", str(path), "--model", "echoed"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Stream club ended. Over its life: 3 tweets, 3 of them new, 1 rejected." in said
    assert f"1 row could not be used. `tweetmill rejected --origin {path}` says why" in said
    work_off(engine)
    [found] = answer(capsys, "streams", "--json")
    assert (found["name"], found["state"], found["tweets"], found["backlog"], found["in_flight"]) == ("club", "ended", 3, 0, 0)
    assert found["lag_seconds"] == 0
    assert 0 < found["latency_p50"] <= found["latency_p95"]
    assert found["counters"]["rejected"] == 1
    assert rows(engine, "SELECT source, count(*) FROM tweet GROUP BY source") == [("club", 3)]


@pytest.mark.parametrize("held", ["", "\n\n", '{"id": "4"}\n'])
def test_a_source_that_ends_without_one_tweet_has_gained_nothing(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], held: str
):
    (tmp_path / "club.jsonl").write_text(held)
    assert "Not one tweet came" in complaint(capsys, 1, "stream", tmp_path / "club.jsonl", "--model", "echoed")


def test_started_again_it_finds_nothing_new(engine: Engine, path: Path, capsys: pytest.CaptureFixture[str]):
    main(["stream", str(path), "--model", "echoed"])
    assert main(["stream", str(path), "--model", "echoed"]) == 0
    assert "going on where it was left" in capsys.readouterr().err
    assert rows(engine, "SELECT count(*) FROM arrival") == [(3,)]
    assert main(["stream", str(path), "--model", "echoed", "--from-start"]) == 0
    assert "from the beginning" in capsys.readouterr().err
    assert rows(engine, "SELECT count(*) FROM arrival") == [(3,)]


def test_the_summaries_of_a_stream_are_those_of_its_job(engine: Engine, path: Path, capsys: pytest.CaptureFixture[str]):
    main(["stream", str(path), "--model", "echoed"])
    work_off(engine)
    [found] = answer(capsys, "streams", "--json")
    lines = printed(capsys, "summaries", "--job", found["job"]).splitlines()
    assert [json.loads(line)["tweet"] for line in lines] == ["0", "1", "2"]
    assert answer(capsys, "job", found["job"], "--json")["state"] == "done"


def test_with_json_each_line_is_how_the_stream_stands(engine: Engine, path: Path, capsys: pytest.CaptureFixture[str]):
    lines = printed(capsys, "stream", path, "--model", "echoed", "--json").splitlines()
    assert json.loads(lines[-1]).keys() >= {"lag_seconds", "backlog", "latency_p95", "arrivals_per_second", "summaries_per_second"}


def test_the_list_fits_a_narrow_terminal_and_shows_what_matters(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    held = begin()
    with transaction() as connection:
        arrivals.store(connection, held, [tweet("a"), tweet("b")])
    table = printed(capsys, "streams").splitlines()
    assert max(map(len, table)) <= 80
    assert table[0].split()[:5] == ["stream", "state", "wait", "shards", "lag"]
    assert table[1].split()[:3] == ["club", "running", "2"]


def test_a_stream_whose_process_is_not_heard_of_is_lost(engine: Engine, capsys: pytest.CaptureFixture[str]):
    begin()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stream SET lease_until = now() - interval '1 second'")
    assert main(["streams"]) == 0
    shown = capsys.readouterr()
    assert "lost" in shown.out
    assert "start it again, it goes on where it was" in " ".join(shown.err.split())


def test_a_running_stream_is_a_job_that_says_that_more_will_come(engine: Engine, capsys: pytest.CaptureFixture[str]):
    held = begin()
    assert "more to come" in printed(capsys, "jobs")
    assert main(["cancel", str(held.job)]) == 0
    assert "more to come" not in printed(capsys, "jobs")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["-", "--map", "says=body"], "the fields are text"),
        (["-", "--name", "-x"], "give another with --name"),
        (["-", "--batch", "0"], "should be greater than or equal to 1"),
        (["-", "--lang", "en"], "--lang is for networks and says nothing to this source: leave it out"),
        (["wss://[x/subscribe"], "it is no address"),
    ],
)
def test_wrong_use_is_told_before_anything_is_read(engine: Engine, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str):
    assert expected in complaint(capsys, 2, "stream", "--model", "echoed", *arguments)
    assert rows(engine, "SELECT count(*) FROM stream") == [(0,)]


def test_at_the_cap_what_x_was_paid_for_gets_its_shards_and_the_stream_ends(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("X_BEARER_TOKEN", x.TOKEN)
    get_settings.cache_clear()
    with http_stream_server.serving(x.Api(deque([x.holding(*map(x.post, range(1, 9)))]))) as server:
        asked = ["stream", f"http://{server.host}{x.STREAM}", "--model", "echoed", "--name", "club", "--rule", "cats", "--max-usd", "0.015"]
        assert main(asked) == 0
        assert shards(engine) == [(1, 3, 3)]
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE stream SET sharded = 1")
        assert main(asked) == 0
        assert shards(engine) == [(1, 3, 3), (2, 3, 2)]
    said = " ".join(capsys.readouterr().err.split())
    assert "Over its life: 3 tweets, 3 of them new, 2 no tweets (cap reached)." in said
    assert said.count("--max-usd 0.015 is reached: 3 posts were read for $0.015.") == 2
    assert "X's stream has no start" in complaint(capsys, 2, *asked, "--from-start")


def test_an_unknown_model_is_told_before_anything_is_read(engine: Engine, path: Path, capsys: pytest.CaptureFixture[str]):
    assert "model nobody: there is none" in complaint(capsys, 1, "stream", path, "--model", "nobody")
    assert "no model is in service" in complaint(capsys, 1, "stream", path)
    assert rows(engine, "SELECT count(*) FROM stream") == [(0,)]


def test_a_model_that_is_put_in_service_for_a_stream_writes_from_the_next_shard_on(
    engine: Engine, path: Path, capsys: pytest.CaptureFixture[str]
):
    better = add_model(engine, "better")
    with session() as opened:
        service.promote(opened, models.resolve(opened, "echoed"), None)
    main(["stream", str(path)])
    with session() as opened:
        service.promote(opened, models.resolve(opened, "better"), "club")
    with path.open("a") as file:
        file.write('{"id": "9", "text": "one more tweet"}\n')
    main(["stream", str(path), "--model", "echoed"])
    assert "was put in service for this stream, and writes in place of echoed" in " ".join(capsys.readouterr().err.split())
    assert rows(engine, "SELECT model, tweets FROM stream_shard ORDER BY first") == [(better - 1, 3), (better, 1)]
    work_off(engine)
    assert rows(engine, "SELECT model, count(*) FROM summary GROUP BY model ORDER BY model") == [(better - 1, 3), (better, 1)]


def test_a_model_that_is_named_is_warned_of_canaries_and_of_nothing_else(engine: Engine, path: Path, capsys: pytest.CaptureFixture[str]):
    add_model(engine, "better")
    echoed = ["stream", str(path), "--model", "echoed"]

    def promote(name: str, stream: str | None, share: int | None = None) -> None:
        with session() as opened:
            service.promote(opened, models.resolve(opened, name), stream, share=share)

    def said() -> str:
        main(echoed)
        return " ".join(capsys.readouterr().err.split())

    promote("echoed", "club")
    assert "promotions" not in said(), "it is the model in service"
    promote("better", "club", 50)
    assert "The canary better writes 50% of this stream's shards" in said()
    with session() as opened:
        service.rollback(opened, "club")
        opened.execute(text("UPDATE promotion SET state = 'replaced' WHERE state = 'in_service'"))
        opened.execute(text("UPDATE stream SET model = 'in-service'"))
    promote("echoed", None)
    promote("better", "club", 50)
    assert "A canary runs for this stream and gets no shard, for echoed is not in service for it" in said()
