"""Before a worker starts: real servers that are set up wrongly, and a real process that refuses them with a sentence."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from deploy import worker as node
from schemas.migrations import head
from tests.conftest import Servers
from tests.support import jobs
from tests.support.proxy import Proxy
from tests.support.valkey import free_port, valkey
from tests.support.worker_process import WorkerProcess, wait_for
from workers.errors import NotReady
from workers.readiness import startup
from workers.readiness.redis import AGREEMENT
from workers.settings import Settings, get_settings

Start = Callable[..., WorkerProcess]
WAYS = ("celery", "tweetmill worker")


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a worker, and ends it."""
    started: list[WorkerProcess] = []

    def start_one(**environment: str) -> WorkerProcess:
        started.append(WorkerProcess(f"worker{len(started)}", "upkeep", tmp_path, **environment))
        return started[-1]

    yield start_one
    for worker in started:
        worker.kill_all()


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def refusal(way: str, folder: Path, **environment: str) -> tuple[int, str]:
    """Exit code and output of a worker that must not start, the output without Celery's warning about root."""
    command = {
        "celery": ["-m", "celery", "-A", "workers.app", "worker", "-Q", "upkeep"],
        "tweetmill worker": ["-c", "from producers.cli import main; raise SystemExit(main(['worker', '--queues', 'upkeep']))"],
    }[way]
    environ = {**os.environ, "PYTHONWARNINGS": "ignore", "COLUMNS": "1000", **environment}
    ended = subprocess.run([sys.executable, *command], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.fault(19)
@pytest.mark.parametrize("way", WAYS)
def test_a_redis_that_would_lose_queues_is_refused_however_the_worker_is_started(
    engine: Engine, tmp_path: Path, way: str, measured: Callable[..., None]
):
    with valkey(tmp_path, {"appendonly": "no", "maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"}) as port:
        begun = time.monotonic()
        code, message = refusal(way, tmp_path, CELERY_BROKER_URL=url(port))
        measured(exit_code=code, refused_seconds=round(time.monotonic() - begun, 1))
    assert code == 1, message
    assert "evicts keys (maxmemory-policy allkeys-lru) and would lose queues: set it to noeviction" in message
    assert "no append-only file" in message
    assert "Traceback" not in message
    assert "ready." not in message


def test_a_refusal_is_one_line(engine: Engine, tmp_path: Path):
    with valkey(tmp_path, {"appendonly": "no"}) as port:
        _, message = refusal("celery", tmp_path, CELERY_BROKER_URL=url(port))
    assert len([line for line in message.splitlines() if line.startswith("tweetmill: ")]) == 1


def test_an_evicting_policy_that_is_set_while_a_worker_runs_shows_in_status(engine: Engine, tmp_path: Path, start: Start):
    with valkey(tmp_path) as port:
        worker = start(CELERY_BROKER_URL=url(port))
        assert wait_for(worker.is_ready), worker.log
        assert status(CELERY_BROKER_URL=url(port))["problems"] == []
        with Redis(port=port) as client:
            client.config_set("maxmemory-policy", "allkeys-random")
        (problem,) = status(CELERY_BROKER_URL=url(port))["problems"]
        assert "allkeys-random" in problem


def old_release(executable: str) -> Callable[[bytes], bytes]:
    """What makes a current Valkey say of itself that it is 8.1.0, run from `executable`; no answer changes its length."""

    def at(found: re.Match[bytes]) -> bytes:
        folder, _, name = executable.encode().rpartition(b"/")
        return b"executable:" + folder + b"/".rjust(len(found[1]) - len(executable) + 1, b"/") + name

    def change(answer: bytes) -> bytes:
        return re.sub(rb"executable:([^\r\n]+)", at, re.sub(rb"valkey_version:9\.\d\.\d", b"valkey_version:8.1.0", answer))

    return change


def test_an_old_release_of_a_distribution_is_a_warning_and_a_worker_starts(engine: Engine, tmp_path: Path, start: Start):
    with valkey(tmp_path) as port, Proxy(("127.0.0.1", port), old_release("/usr/bin/valkey")) as packaged:
        found = status(CELERY_BROKER_URL=url(packaged.port))
        (warning,) = found["warnings"]
        assert (found["redis"]["version"], found["problems"]) == ("8.1.0", [])
        assert "Valkey 8.1.0 is open to CVE-2025-49844" in warning
        worker = start(CELERY_BROKER_URL=url(packaged.port))
        assert wait_for(worker.is_ready), worker.log
        assert worker.log.splitlines().count(f"tweetmill: warning: {warning}") == 1


def test_an_old_release_that_was_put_there_by_hand_is_refused(engine: Engine, tmp_path: Path):
    with valkey(tmp_path) as port, Proxy(("127.0.0.1", port), old_release("/opt/bin/valkey")) as by_hand:
        (problem,) = status(CELERY_BROKER_URL=url(by_hand.port))["problems"]
        code, message = refusal("celery", tmp_path, CELERY_BROKER_URL=url(by_hand.port))
    assert code == 1, message
    assert "Valkey 8.1.0 is open to CVE-2025-49844" in problem
    assert problem in message


def status(**environment: str) -> dict[str, Any]:
    command = [sys.executable, "-c", "from producers.cli import main; main(['status', '--json'])"]
    asked = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=True)
    return dict(json.loads(asked.stdout))


def test_status_shows_what_the_checks_look_at(engine: Engine, servers: Servers):
    found = status()
    assert found["problems"] == []
    redis, postgres = found["redis"], found["postgres"]
    assert (redis["product"], redis["append_only"], redis["eviction"]) == ("Valkey", True, "noeviction")
    assert abs(redis["clock_ahead"]) < 1
    assert abs(postgres["clock_ahead"]) < 1
    assert postgres["revision"] == postgres["head"]


def test_tables_that_are_behind_are_refused(engine: Engine, tmp_path: Path):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    try:
        code, message = refusal("celery", tmp_path)
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head()})
    assert code == 1
    assert f"the tables stand at 0000, this code expects {head()}: run `tweetmill migrate`" in message
    assert "Traceback" not in message


# The clock


@pytest.mark.fault(28)
@pytest.mark.parametrize("hours", [2, -2])
def test_a_process_whose_clock_is_wrong_is_refused(engine: Engine, tmp_path: Path, hours: int, measured: Callable[..., None]):
    jobs.add(engine, kind="upkeep.ping")
    (tmp_path / "sitecustomize.py").write_text(f"import time\n_true = time.time\ntime.time = lambda: _true() + {hours * 3600}\n")
    code, message = refusal("celery", tmp_path, PYTHONPATH=str(tmp_path))
    measured(exit_code=code, extra_starts=0)
    assert code == 1
    direction = "ahead of" if hours > 0 else "behind"
    for server in ("Valkey", "Postgres"):
        assert re.search(rf"this machine's clock is 7\d\d\d\.\d s {direction} {server}'s: let NTP set both", message), message
    assert "ready." not in message


def test_a_second_is_tolerated_and_more_is_not(engine: Engine):
    startup.check(get_settings(), lambda: time.time() + 0.5)
    with pytest.raises(NotReady, match="ahead"):
        startup.check(get_settings(), lambda: time.time() + 1.5)


# The visibility timeout


def test_workers_of_one_redis_must_agree_on_the_visibility_timeout(engine: Engine, tmp_path: Path, start: Start):
    with valkey(tmp_path) as port:
        first = start(CELERY_BROKER_URL=url(port))
        assert wait_for(first.is_ready), first.log
        code, message = refusal("celery", tmp_path, CELERY_BROKER_URL=url(port), TWEETMILL_VISIBILITY_TIMEOUT="3600")
        assert code == 1
        assert "agreed on a visibility timeout of 600 s, here it is 3600 s" in message
        second = start(CELERY_BROKER_URL=url(port))
        assert wait_for(second.is_ready), second.log
        with Redis(port=port) as client:
            assert 0 < client.ttl(AGREEMENT) <= 60


def test_the_agreement_ends_when_nobody_renews_it(servers: Servers, engine: Engine):
    others = Settings(visibility_timeout=3600)
    startup.check(get_settings())
    with pytest.raises(NotReady, match="visibility timeout"):
        startup.check(others)
    with startup.broker_client(get_settings()) as client:
        client.expire(AGREEMENT, 5)
        startup.agree(client, 3600)
        assert client.ttl(AGREEMENT) <= 5, "only those who agree keep it"
        startup.agree(client, 600)
        assert client.ttl(AGREEMENT) > 5
        client.delete(AGREEMENT)
    startup.check(others)


def test_a_worker_renews_the_agreement_while_it_lives(engine: Engine, tmp_path: Path):
    port = free_port()
    stop = startup.keep_agreement(Settings(broker_url=url(port)), every=0.1)
    try:
        for _ in range(2):  # Redis may go away in between, and forget
            with valkey(tmp_path, {"appendonly": "no"}, port=port), Redis(port=port) as client:
                assert wait_for(lambda client=client: client.get(AGREEMENT) == b"600", 10)
    finally:
        stop.set()


# Servers that are away


def test_a_worker_waits_for_a_redis_that_is_away_and_starts_when_it_is_back(engine: Engine, tmp_path: Path, start: Start):
    port = free_port()
    worker = start(CELERY_BROKER_URL=url(port))
    assert wait_for(lambda: "Redis does not answer" in worker.log), worker.log
    assert worker.process.poll() is None
    with valkey(tmp_path, port=port):
        assert wait_for(worker.is_ready), worker.log
        assert "Traceback" not in worker.log


def test_a_worker_that_waits_can_be_told_to_end(engine: Engine, tmp_path: Path, start: Start):
    worker = start(CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    assert wait_for(lambda: "Trying again" in worker.log), worker.log
    worker.signal(signal.SIGTERM)
    worker.exit_code(10)


def test_a_full_redis_is_waited_for_and_breaks_no_worker(engine: Engine, tmp_path: Path, start: Start):
    with valkey(tmp_path) as port, Redis(port=port) as client:
        client.config_set("maxmemory", 1)
        worker = start(CELERY_BROKER_URL=url(port))
        assert wait_for(lambda: "maxmemory" in worker.log), worker.log
        assert worker.process.poll() is None
        client.config_set("maxmemory", 0)
        assert wait_for(worker.is_ready), worker.log


def test_a_wrong_password_is_no_reason_to_wait(engine: Engine, tmp_path: Path):
    with valkey(tmp_path, {"requirepass": "secret"}) as port:
        code, message = refusal("celery", tmp_path, CELERY_BROKER_URL=f"redis://:wrong@127.0.0.1:{port}/0")
    assert code == 1
    assert "Redis refuses the user or password" in message
    assert "wrong@" not in message


def test_an_unknown_user_of_postgres_is_no_reason_to_wait(engine: Engine, servers: Servers, tmp_path: Path):
    code, message = refusal("celery", tmp_path, DATABASE_URL=servers.database_url.replace("//tweetmill@", "//nobody-knows@"))
    assert code == 1
    assert "check DATABASE_URL" in message
    assert "Traceback" not in message


def test_a_worker_that_may_start_is_let_through(engine: Engine):
    node.check(get_settings(), ["upkeep"])
