"""Postgres dies in the middle of a stream, which waits for it and goes on with what it has in hand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text

from tests.support.mill import Mill
from tests.support.streams import ECHO, add_model, rows
from tests.support.worker_process import WorkerProcess, wait_for

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys; from producers.cli import main; sys.exit(main(sys.argv[1:]))"


def append(path: Path, first: int, last: int) -> None:
    with path.open("a") as file:
        for number in range(first, last):
            file.write(json.dumps({"id": f"t{number}", "text": f"omg the bus number {number} was late AGAIN"}) + "\n")


def test_a_stream_waits_for_a_postgres_that_died_and_loses_and_repeats_nothing(
    mill: Mill, tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    with mill.engine.begin() as connection:
        connection.execute(text("TRUNCATE tweet, stream, model CASCADE"))
    add_model(mill.engine)
    worker = start_worker("echo", "summarization", **ECHO)
    path, log = tmp_path / "tweets.jsonl", tmp_path / "stream.log"
    append(path, 0, 50)
    command = [sys.executable, "-c", MAIN, "stream", str(path), "--follow", "--model", "echoed", "--batch", "16", "--max-age", "0.5"]
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    try:
        assert wait_for(lambda: rows(mill.engine, "SELECT count(*) FROM arrival") == [(50,)]), log.read_text()
        with mill.without(mill.postgres, signal.SIGQUIT):
            append(path, 50, 100)
            assert wait_for(lambda: "trying again" in log.read_text()), log.read_text()
        append(path, 100, 120)
        assert wait_for(lambda: rows(mill.engine, "SELECT count(*) FROM summary") == [(120,)]), log.read_text() + worker.log
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert rows(mill.engine, "SELECT count(*), count(DISTINCT tweet) FROM arrival") == [(120, 120)]
    assert rows(mill.engine, "SELECT count(*), count(DISTINCT tweet) FROM selection") == [(120, 120)]
    assert "omg" not in log.read_text(), "no tweet is in what it says"
