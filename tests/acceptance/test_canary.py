"""A word that only tweets contain, looked for wherever no tweet may be: Redis, logs, Flower, events, errors, what people are told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from schemas.payloads import SummarizationSpec
from schemas.states import FINAL_STATES
from schemas.synthesis import NoiseSource, SynthesisSpec
from tasks import summarization, synthesis
from tests.conftest import Servers
from tests.support import jobs
from tests.support.openai_server import Answer, Request, serving
from tests.support.tiny_model import build_tiny_model
from tests.support.valkey import free_port
from tests.support.worker_process import WorkerProcess, wait_for
from workers.broker import redis_client
from workers.ingest.curated import import_collection
from workers.settings import get_settings

CANARY = "zugzwangkanarie"
TWEETS = 24


class Listener:
    """Hears every command that Redis gets."""

    def __init__(self, path: Path) -> None:
        self._heard = bytearray()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while part := self._socket.recv(65536):
            self._heard += part

    def stop(self) -> bytes:
        """All of it."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()
        return bytes(self._heard)


@pytest.fixture
def echo() -> Iterator[str]:
    """A model server that refuses every request and quotes it."""

    def quoted(_: int, request: Request) -> Answer:
        return Answer(401, json.dumps({"error": {"message": f"invalid key for {json.dumps(request, ensure_ascii=False)}"}}))

    with serving(quoted) as server:
        yield server.url


@pytest.fixture
def flower(servers: Servers, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A running Flower; asks it for a page."""
    port = free_port()
    environment = {**os.environ, "TWEETMILL_HOME": str(tmp_path), "TWEETMILL_FLOWER_PORT": str(port)}
    with (tmp_path / "flower.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "deploy.flower"], env=environment, stdout=log, stderr=subprocess.STDOUT)

    def page(path: str) -> str:
        password = (tmp_path / "secrets" / "flower_password").read_text().strip()
        return httpx.get(f"http://127.0.0.1:{port}{path}", auth=("tweetmill", password), timeout=30).text

    def answers() -> bool:
        try:
            return page("/api/tasks").startswith("{")
        except (httpx.HTTPError, OSError):
            return False

    try:
        assert wait_for(answers), (tmp_path / "flower.log").read_text()
        yield page
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Tweets and pairs that carry the canary; some lines of each can't be used, in every way there is."""
    folder = tmp_path / "data"
    folder.mkdir()
    sentences = [f"The {CANARY} to Oslo was {number + 2} minutes late." for number in range(TWEETS)]
    tweets = [json.dumps({"id": str(number), "text": f"omg {sentence} smh"}) for number, sentence in enumerate(sentences)]
    broken = [
        f'{{"id": "x", "text": "{CANARY}',
        json.dumps({"id": "y", "text": f"{CANARY} \u0000"}),
        json.dumps({"text": CANARY}),
        json.dumps({"id": "z", "text": 5, CANARY: CANARY}),
        CANARY,
    ]
    pairs = [json.dumps({"tweet_id": str(number), "clean": sentence, "summary": sentence}) for number, sentence in enumerate(sentences)]
    unusable = [
        CANARY,
        json.dumps({"tweet_id": "0", "clean": CANARY}),
        json.dumps({"tweet_id": "missing", "clean": CANARY, "summary": CANARY}),
    ]
    (folder / "tweets.jsonl").write_text("\n".join(tweets + broken))
    (folder / "pairs.jsonl").write_text("\n".join(pairs + unusable))
    return folder


def printed_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a person sees of a verb, on both streams, whether it fails or not."""
    capsys.readouterr()
    main(arguments)
    return "".join(capsys.readouterr())


def add_model(engine: Engine, name: str, base: str) -> int:
    with engine.begin() as connection:
        new = "INSERT INTO model (name, base, method, stage) VALUES (:name, :base, 'none', 'summary') RETURNING id"
        return int(connection.execute(text(new), {"name": name, "base": base}).scalar_one())


def everything_in_redis(servers: Servers) -> bytes:
    """Keys with their values, and the file that has every write since the server was made."""
    with redis_client(servers.broker_url) as client:
        kept = [key + b" " + (client.dump(key) or b"") for key in client.scan_iter(count=1000)]
    return b"\n".join([*kept, *(path.read_bytes() for path in (servers.home / "valkey").rglob("*") if path.is_file())])


def rows(engine: Engine, query: str) -> str:
    with engine.connect() as connection:
        return "\n".join(str(row) for row in connection.execute(text(query)))


def test_no_tweet_is_found_where_none_may_be(
    clean_database: Engine,
    servers: Servers,
    files: Path,
    echo: str,
    flower: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    engine = clean_database
    base = build_tiny_model(tmp_path / "tiny")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    monkeypatch.setenv("TWEETMILL_MAX_FAILURES", "1")
    get_settings.cache_clear()
    listener = Listener(servers.home / "run" / "valkey.sock")
    printed = printed_by(capsys, "ingest", str(files / "tweets.jsonl"))
    local = WorkerProcess("local", "synthesis,summarization", tmp_path, TWEETMILL_LOG_JSON="true")
    try:
        collection = import_collection(files / "pairs.jsonl", "pairs")
        spec = SynthesisSpec(dataset="late", pairs=collection, noise=NoiseSource(copies=1, limit=20), test_size=4, near_duplicate=1.0)
        asked = [synthesis.enqueue(spec, tweets=TWEETS).job]
        for name, folder in (("tiny", base), ("broken", tmp_path / "broken")):
            asked.append(summarization.enqueue(SummarizationSpec(model_id=add_model(engine, name, str(folder)), shard_size=100)).job)
        wait(engine, asked[:2], "done", local)
        wait(engine, asked[2:], "failed", local)
    finally:
        local.kill_all()
    told = {"TWEETMILL_ENGINE": "openai", "OPENAI_BASE_URL": echo, "OPENAI_API_KEY": "none"}
    remote = WorkerProcess("remote", "summarization", tmp_path, **told)
    try:
        asked.append(summarization.enqueue(SummarizationSpec(model_id=add_model(engine, "remote", "remote"), shard_size=100)).job)
        wait(engine, asked[3:], "failed", remote)
        time.sleep(1)
        pages = "".join(flower(page) for page in ("/api/tasks?limit=1000", "/api/workers?refresh=1", "/tasks", "/workers", "/metrics"))
    finally:
        remote.kill_all()
    for verb in (["rejected", "--json"], ["jobs"], *([verb, str(job)] for job in asked for verb in ("job", "logs"))):
        printed += printed_by(capsys, *verb)
    commands = listener.stop()

    assert counted(engine, "SELECT count(*) FROM tweet WHERE text LIKE :canary") >= TWEETS, "the search can find it"
    assert counted(engine, "SELECT count(*) FROM example WHERE prompt_text LIKE :canary") > 0
    assert counted(engine, "SELECT count(*) FROM summary WHERE cleaned LIKE :canary") >= TWEETS
    assert counted(engine, "SELECT count(*) FROM rejected_row") >= 6
    shards = {str(job) for job in rows(engine, "SELECT id FROM job WHERE parent IS NOT NULL").split("'")[1::2]}
    assert len(shards) == 3
    assert all(shard.encode() in commands for shard in shards), "the listener heard what was sent"
    assert all(shard in pages for shard in shards), "Flower saw the tasks"

    logs = [*tmp_path.glob("*.log"), *(servers.home / "logs").iterdir()]
    assert len(logs) >= 5
    places = {str(log): log.read_bytes() for log in logs} | {
        "what Redis was sent": commands,
        "what Redis keeps": everything_in_redis(servers),
        "Flower": pages.encode(),
        "what a person was told": printed.encode(),
        "job": rows(engine, "SELECT * FROM job").encode(),
        "job_event": rows(engine, "SELECT * FROM job_event").encode(),
        "rejected_row": rows(engine, "SELECT * FROM rejected_row").encode(),
        "worker": rows(engine, "SELECT * FROM worker").encode(),
    }
    assert [place for place, content in places.items() if CANARY.encode() in content] == []
    assert {place for place, content in places.items() if not content} <= {str(log) for log in logs}, "nothing was looked for in nothing"


def wait(engine: Engine, asked: list[uuid.UUID], state: str, worker: WorkerProcess) -> None:
    for job in asked:
        assert wait_for(lambda job=job: jobs.state(engine, job) in FINAL_STATES, 90), worker.log[-4000:]
        assert jobs.state(engine, job) == state, f"{jobs.row(engine, job).error} {worker.log[-2000:]}"


def counted(engine: Engine, query: str) -> int:
    with engine.connect() as connection:
        values = {"canary": f"%{CANARY}%"} if ":canary" in query else {}
        return int(connection.execute(text(query), values).scalar_one())
