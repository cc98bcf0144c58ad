"""A password that is put wherever a person may type one, looked for wherever it may not be: messages, logs, rows, Flower, processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import Engine, text
from typer.main import get_command

from producers.cli import app as cli
from producers.cli import main
from schemas.payloads import SummarizationSpec
from schemas.states import FINAL_STATES
from tasks import summarization
from tests.conftest import Servers
from tests.support import jobs
from tests.support.openai_server import Answer, serving
from tests.support.valkey import free_port, valkey
from tests.support.worker_process import WorkerProcess, wait_for
from workers.broker import redis_client
from workers.settings import get_settings

PASSWORD = "xyzzy7plughwaldo"
SPOILT = f"{PASSWORD}/fred@grault"
PARTS = (PASSWORD, "fred", "grault")

WRONG_URLS = [
    f"{{}}://me:{SPOILT}@127.0.0.1:1/0",
    f"{{}}://me:{PASSWORD}@127.0.0.1:{PASSWORD}/0",
    f"{{}}://{PASSWORD}:1/0",
    f"{{}}://me:{PASSWORD}@{PASSWORD}.invalid:1/0",
    f"{{}}://me:{PASSWORD}#fred@127.0.0.1:1/0",
    f"{{}}://me:{PASSWORD}?fred@127.0.0.1:1/0",
    f"{{}}://me:{PASSWORD}%00fred@127.0.0.1:1/0",
    f"{{}}://me:{PASSWORD}\nfred@127.0.0.1:1/0",
    f"{{}}://me:{PASSWORD}@[fred:1/0",
    f"{{}}://me:{PASSWORD}@127.0.0.1:1/{PASSWORD}?password={PASSWORD}&ssl={PASSWORD}",
    f"me:{PASSWORD}@127.0.0.1:1/0",
    PASSWORD,
    f"mysql+{{}}://me:{PASSWORD}@127.0.0.1:1/0",
    f"{{}}://me:{PASSWORD}@127.0.0.1:1/0",
]
# One of each way in which a verb meets the servers.
VERBS = [["status"], ["status", "--json"], ["jobs"], ["ingest", os.devnull], ["migrate"], ["worker"]]


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def hits(printed: str) -> list[str]:
    return [part for part in PARTS if part in printed]


def printed_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a person sees of a verb, on both streams, whether it fails or not."""
    get_settings.cache_clear()
    capsys.readouterr()
    main(arguments)
    return "".join(capsys.readouterr())


@pytest.mark.parametrize("url", WRONG_URLS)
@pytest.mark.parametrize(("name", "scheme"), [("DATABASE_URL", "postgresql"), ("CELERY_BROKER_URL", "redis")])
def test_no_verb_tells_a_part_of_an_address(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, scheme: str, url: str
):
    monkeypatch.setenv(name, url.format(scheme))
    printed = "".join(printed_by(capsys, *verb) for verb in VERBS)
    assert hits(printed) == []
    assert name in printed
    assert "Traceback" not in printed


def test_no_option_or_argument_of_a_verb_comes_back_with_a_password_in_it(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setenv("DATABASE_URL", f"postgresql://tweetmill:{PASSWORD}@127.0.0.1:1/x")
    for name in get_command(cli).commands:  # type: ignore[attr-defined]
        # Those that start a stack or become another process, as serve does: it has a test of its own below.
        if name not in ("up", "down", "demo", "worker", "fetch", "serve"):
            for arguments in ([], ["1"], [os.devnull], ["a", "b"]):
                assert hits(printed_by(capsys, name, *arguments)) == [], (name, arguments)


def test_an_endpoint_that_reaches_no_database_tells_no_part_of_its_address(servers: Servers):
    command = [
        sys.executable,
        "-c",
        "import sys; from producers.cli import main; sys.exit(main(sys.argv[1:]))",
        "serve",
        "a",
        "--port",
        "0",
    ]
    environment = {**os.environ, "DATABASE_URL": f"postgresql://tweetmill:{PASSWORD}@127.0.0.1:1/x"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode != 0
    assert hits(ended.stdout + ended.stderr) == []
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ({"base_url": f"http://me:{PASSWORD}@127.0.0.1:1/v1"}, []),
        ({"base_url": f"http://me:{SPOILT}@127.0.0.1:1/v1"}, []),
        ({"base_url": f"http://127.0.0.1:1/v1?key={PASSWORD}"}, []),
        ({"base_url": f"http://127.0.0.1:{PASSWORD}/v1"}, []),
        ({"base_url": PASSWORD}, []),
        ({"api_key": PASSWORD}, []),
        ({}, [f"teacher.base_url=http://me:{PASSWORD}@127.0.0.1:1/v1"]),
        ({}, [f"teacher.api_key={PASSWORD}"]),
        ({}, [f"OPENAI_API_KEY={PASSWORD}"]),
    ],
)
def test_no_recipe_is_quoted(
    servers: Servers, capsys: pytest.CaptureFixture[str], tmp_path: Path, recipe: dict[str, str], overrides: list[str]
):
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps({"dataset": "d", "stage": "summary", "teacher": {"model": "m", **recipe}}))
    printed = printed_by(capsys, "synthesize", "-r", str(file), *overrides)
    assert hits(printed) == []
    assert "Error" in printed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", f"http://me:{PASSWORD}@127.0.0.1:1/v1"),
        ("OPENAI_BASE_URL", f"http://127.0.0.1:{PASSWORD}/v1"),
        ("OPENAI_API_KEY", f"{PASSWORD}\nfred"),
        ("TWEETMILL_DATABASE_PASSWORD_FILE", PASSWORD),
        ("TWEETMILL_BROKER_PASSWORD_FILE", PASSWORD),
        ("TWEETMILL_FLOWER_PASSWORD_FILE", PASSWORD),
        ("TWEETMILL_DATABASE_CA_FILE", PASSWORD),
        ("TWEETMILL_LEASE", PASSWORD),
        ("TWEETMILL_ENGINE", PASSWORD),
        ("PGOPTIONS", PASSWORD),
        ("PGSERVICE", PASSWORD),
        ("PGPASSWORD", PASSWORD),
    ],
)
def test_no_setting_is_quoted(servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str):
    monkeypatch.setenv(name, value)
    printed = "".join(printed_by(capsys, *verb) for verb in VERBS if verb != ["worker"])
    printed += printed_by(capsys, "worker", "--queues", "none")
    assert hits(printed) == []


@pytest.fixture
def echo() -> Iterator[str]:
    """A model server that refuses every request and quotes its key."""

    def quoted(*_: object) -> Answer:
        key = str(server.authorizations[-1])
        return Answer(401, json.dumps({"error": {"message": f"invalid key {key} of {key.split()[-1]}"}}))

    with serving(quoted) as server:
        yield server.url


@pytest.fixture
def environment(servers: Servers, tmp_path: Path, echo: str) -> Iterator[dict[str, str]]:
    """Settings that work, with the password wherever it can be; Redis asks for it, and listens on a socket."""
    socket = tmp_path / "valkey.sock"
    (tmp_path / "password").write_text(PASSWORD)
    with valkey(tmp_path, {"requirepass": PASSWORD, "unixsocket": socket}) as port:
        yield {
            "DATABASE_URL": servers.database_url.replace("//tweetmill@", f"//tweetmill:{PASSWORD}@"),
            "CELERY_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:{port}/0",
            "SOCKET": f"unix://:{PASSWORD}@{socket}?db=0",
            "TWEETMILL_ENGINE": "openai",
            "OPENAI_BASE_URL": echo,
            "OPENAI_API_KEY": PASSWORD,
            "PGPASSWORD": PASSWORD,
            "TWEETMILL_MAX_FAILURES": "1",
            "TWEETMILL_FLOWER_PASSWORD_FILE": str(tmp_path / "password"),
        }


@pytest.fixture
def flower(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A running Flower; asks it for a page."""
    port = free_port()
    environ = {**os.environ, **environment, "TWEETMILL_HOME": str(tmp_path / "home"), "TWEETMILL_FLOWER_PORT": str(port)}
    with (tmp_path / "flower.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "deploy.flower"], env=environ, stdout=log, stderr=subprocess.STDOUT)

    def page(path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{port}{path}", auth=("tweetmill", PASSWORD), timeout=30).text

    def answers() -> bool:
        try:
            return page("/api/tasks").startswith("{")
        except httpx.HTTPError:
            return False

    try:
        assert wait_for(answers), (tmp_path / "flower.log").read_text()
        yield page
    finally:
        process.kill()
        process.wait(20)


def command_lines() -> str:
    """What `ps` shows of this machine."""
    lines = []
    for process in psutil.process_iter():
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return "\n".join(lines)


@pytest.mark.parametrize("way", ["TCP", "socket"])
def test_workers_and_flower_keep_their_passwords(
    clean_database: Engine,
    environment: dict[str, str],
    flower: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
):
    engine = clean_database
    if way == "socket":
        environment["CELERY_BROKER_URL"] = environment["SOCKET"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    (tmp_path / "tweets.jsonl").write_text(json.dumps({"id": "1", "text": "the ferry to Bergen was late"}))
    main(["ingest", str(tmp_path / "tweets.jsonl")])
    worker = WorkerProcess("kept", "synthesis,summarization", tmp_path)
    try:
        assert wait_for(worker.is_ready), worker.log
        with engine.begin() as connection:
            new = "INSERT INTO model (name, base, method, stage) VALUES ('m', 'm', 'none', 'summary') RETURNING id"
            model = int(connection.execute(text(new)).scalar_one())
        asked = [summarization.enqueue(SummarizationSpec(model_id=model, shard_size=100)).job]
        for job in asked:
            assert wait_for(lambda job=job: jobs.state(engine, job) in FINAL_STATES, 60), worker.log[-3000:]
        shown = "".join(flower(page) for page in ("/api/workers?refresh=1", "/api/tasks", "/workers", "/broker", "/worker/kept@test"))
        shown += inspected(tmp_path)
        lines = command_lines()
        with engine.begin() as connection:  # what a server that goes away makes Celery say
            connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"))
        with redis_client(get_settings().broker()) as client:
            client.shutdown(nosave=True)
        assert wait_for(lambda: "annot connect" in worker.log or "Connection" in worker.log), worker.log
    finally:
        worker.kill_all()
    assert "kept@test" in shown
    assert '"broker"' in shown
    assert jobs.row(engine, asked[0]).error is not None
    with engine.connect() as connection:
        tables = ("job", "job_event", "worker", "rejected_row")
        rows = "".join(str(connection.execute(text(f"SELECT to_jsonb(t) FROM {table} t")).all()) for table in tables)  # noqa: S608
    places = {"Flower": shown, "ps": lines, "rows": rows, **{str(log): log.read_text(errors="replace") for log in tmp_path.glob("*.log")}}
    assert len(places) >= 6
    assert all(places.values()) or way
    assert [place for place, content in places.items() if PASSWORD in content] == []


def inspected(folder: Path) -> str:
    """What `celery inspect stats` says."""
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "inspect", "stats", "--json"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False).stdout
