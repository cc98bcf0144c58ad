"""Streams in processes of their own, which are stopped and killed while their files grow: every tweet once, every summary once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.support import jobs
from tests.support.streams import ECHO, add_model, rows
from tests.support.worker_process import WorkerProcess, wait_for

pytestmark = pytest.mark.spread

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Start]:
    """Start `tweetmill stream` with these arguments; all are killed in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, **more: object) -> subprocess.Popen[bytes]:
        verb = ["stream", *map(str, arguments), "--batch", "16", "--max-age", "0.5"]
        command = [sys.executable, "-c", "import sys; from producers.cli import main; sys.exit(main(sys.argv[1:]))", *verb]
        with (tmp_path / "stream.log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log, **more))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def said(tmp_path: Path) -> str:
    return (tmp_path / "stream.log").read_text()


def append(path: Path, first: int, last: int) -> None:
    """Write tweets, the last of them without its line end, and then that."""
    lines = [json.dumps({"id": f"t{number}", "text": f"omg the bus number {number} was late AGAIN"}) for number in range(first, last)]
    with path.open("a") as file:
        file.write("\n".join(lines))
        file.flush()
        file.write("\n")


def count(engine: Engine, table: str) -> int:
    return int(rows(engine, f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608


def is_once_each(engine: Engine, tweets: int) -> None:
    """Each tweet is there, arrived once, is in one shard and has one summary."""
    assert count(engine, "tweet") == tweets
    assert rows(engine, "SELECT count(*), count(DISTINCT tweet) FROM arrival") == [(tweets, tweets)]
    assert rows(engine, "SELECT count(*), count(DISTINCT tweet) FROM selection") == [(tweets, tweets)]
    assert rows(engine, "SELECT count(*), count(DISTINCT tweet) FROM summary") == [(tweets, tweets)]


def test_a_stream_that_is_killed_and_stopped_while_its_file_grows_and_turns_loses_and_repeats_nothing(
    engine: Engine, base: Path, tmp_path: Path, stream: Start, start_worker: Callable[..., WorkerProcess]
) -> None:
    with engine.begin() as connection:
        tiny = "INSERT INTO model (name, base, method, stage) VALUES ('tiny', :base, 'none', 'summary')"
        connection.execute(text(tiny), {"base": str(base)})
    worker = start_worker("tiny", "summarization")
    path = tmp_path / "tweets.jsonl"
    append(path, 0, 40)

    follow = (path, "--follow", "--model", "tiny", "--no-guard")
    killed = stream(*follow)
    assert wait_for(lambda: count(engine, "summary") >= 1), said(tmp_path) + worker.log
    append(path, 40, 80)
    assert wait_for(lambda: count(engine, "arrival") > 40), said(tmp_path)
    killed.kill()
    killed.wait()
    append(path, 80, 90)
    path.rename(tmp_path / "tweets.jsonl.1")  # rotated while nobody reads
    append(path, 90, 120)

    stopped = stream(*follow)
    assert wait_for(lambda: count(engine, "arrival") >= 110), said(tmp_path)
    append(path, 120, 140)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(timeout=120) == 0, said(tmp_path)
    assert rows(engine, "SELECT state, owner FROM stream") == [("stopped", None)]
    read = count(engine, "arrival")
    assert wait_for(lambda: count(engine, "summary") == read), "what was read when it was stopped is in shards: " + worker.log

    interrupted = stream(*follow)
    append(path, 140, 150)
    assert wait_for(lambda: count(engine, "arrival") == 150), said(tmp_path)
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(timeout=120) == 0, said(tmp_path)
    assert wait_for(lambda: count(engine, "summary") == 150), worker.log

    is_once_each(engine, 150)
    parents = rows(engine, "SELECT id FROM job WHERE kind = 'summarization.stream'")
    assert len(parents) == 2, "the killed process's parent was gone on with, and closed when it was stopped"
    assert wait_for(lambda: {jobs.state(engine, id_) for (id_,) in parents} == {"done"})
    assert "omg" not in said(tmp_path), "no tweet is in what a stream says"


def test_two_streams_run_side_by_side_and_a_second_process_for_one_is_refused(
    engine: Engine, tmp_path: Path, stream: Start, start_worker: Callable[..., WorkerProcess]
) -> None:
    add_model(engine)
    start_worker("echo", "summarization", **ECHO)
    folder, path = tmp_path / "incoming", tmp_path / "tweets.jsonl"
    folder.mkdir()
    append(folder / "1.jsonl", 0, 30)
    append(path, 100, 130)
    both = [stream(folder, "--model", "echoed"), stream(path, "--follow", "--model", "echoed")]
    assert wait_for(lambda: count(engine, "summary") == 60), said(tmp_path)

    second = stream(path, "--follow", "--model", "echoed")
    assert second.wait(timeout=120) == 1
    assert "stream tweets is read by process" in " ".join(said(tmp_path).split())

    append(folder / "2.jsonl", 30, 60)
    append(path, 130, 160)
    assert wait_for(lambda: count(engine, "summary") == 120), said(tmp_path)
    for process in both:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(timeout=120) for process in both] == [0, 0], said(tmp_path)
    is_once_each(engine, 120)
    assert rows(engine, "SELECT name, arrived FROM stream ORDER BY name") == [("incoming", 60), ("tweets", 60)]
    assert rows(engine, "SELECT source, count(*) FROM tweet GROUP BY source ORDER BY source") == [("incoming", 60), ("tweets", 60)]


def test_standard_input_is_summarised_to_its_end(
    engine: Engine, tmp_path: Path, stream: Start, start_worker: Callable[..., WorkerProcess]
) -> None:
    add_model(engine)
    start_worker("echo", "summarization", **ECHO)
    reading, writing = os.pipe()
    process = stream("-", "--model", "echoed", "--name", "piped", stdin=reading)
    os.close(reading)
    with os.fdopen(writing, "w") as into:
        into.write('{"id": "1", "text": "the first of two"}\n')
        into.flush()
        assert wait_for(lambda: count(engine, "summary") == 1), "it does not wait for the next line"
        into.write('{"id": "2", "text": "the second of two"}')
    assert process.wait(timeout=120) == 0, said(tmp_path)
    assert wait_for(lambda: count(engine, "summary") == 2)
    assert rows(engine, "SELECT state FROM stream") == [("ended",)]
