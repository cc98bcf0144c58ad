"""TLS to Redis and to Postgres: it works with the right authority, and nothing goes out without it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from celery import Celery
from kombu.exceptions import OperationalError as OperationalErrorOfKombu
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from deploy.health import broker_reading
from tests.conftest import Servers
from tests.support import work
from tests.support.tls import Authority, tls_listener
from tests.support.worker_process import WorkerProcess, wait_for
from workers.app import configuration
from workers.broker import broker_client
from workers.database import connect
from workers.settings import Settings

Environment = dict[str, str]


@dataclass(frozen=True)
class Listeners:
    """The servers behind TLS, under the name localhost."""

    redis: int
    postgres: int
    authority: Path
    other_authority: Path

    def environment(self, host: str = "localhost") -> Environment:
        """What a process is told that trusts the right authority."""
        return {
            "CELERY_BROKER_URL": f"rediss://{host}:{self.redis}/0",
            "TWEETMILL_BROKER_CA_FILE": str(self.authority),
            "DATABASE_URL": f"postgresql://tweetmill@{host}:{self.postgres}/tweetmill",
            "TWEETMILL_DATABASE_CA_FILE": str(self.authority),
        }

    def settings(self, host: str = "localhost") -> Settings:
        told = self.environment(host)
        return Settings(
            database_url=told["DATABASE_URL"],
            broker_url=told["CELERY_BROKER_URL"],
            database_ca_file=self.authority,
            broker_ca_file=self.authority,
        )


@pytest.fixture(scope="module")
def listeners(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listeners]:
    folder = tmp_path_factory.mktemp("tls")
    right, wrong = Authority.create(folder / "right"), Authority.create(folder / "wrong")
    context = right.context_for("localhost")
    redis = Path(unquote(urlsplit(servers.broker_url).path))
    postgres = Path(parse_qs(urlsplit(servers.database_url).query)["host"][0]) / ".s.PGSQL.5432"
    with tls_listener(context, redis) as redis_port, tls_listener(context, postgres, postgres=True) as postgres_port:
        yield Listeners(redis_port, postgres_port, right.certificate, wrong.certificate)


def test_a_worker_does_its_work_through_tls_alone(listeners: Listeners, clean_database: Engine, tmp_path: Path):
    worker = WorkerProcess("sealed", "upkeep", tmp_path, app="tests.support.work", **listeners.environment())
    try:
        assert wait_for(worker.is_ready), worker.log
        ask = "from tests.support import work; work.enqueue([work.Work(rows=3)])"
        environment = {**os.environ, **listeners.environment()}
        root = Path(__file__).resolve().parents[3]
        subprocess.run([sys.executable, "-c", ask], env=environment, cwd=root, check=True, timeout=60)
        assert wait_for(lambda: counted(clean_database, "SELECT count(*) FROM job WHERE state = 'done'") == 1), worker.log
        assert counted(clean_database, "SELECT count(*) FROM metric") == 3
        assert counted(clean_database, "SELECT count(*) FROM job WHERE kind = 'test.work' AND attempt = 1") == 1
    finally:
        worker.kill_all()
    assert work.KIND in worker.log
    assert "insecure" not in worker.log


def counted(engine: Engine, query: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


def test_both_servers_are_read_through_tls(listeners: Listeners):
    reading = broker_reading(listeners.settings())
    assert reading["append_only"] is True
    engine = connect(listeners.settings().database())
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


WRONG_ENDS = ["the broker's authority", "the database's authority"]


@pytest.mark.parametrize("wrong", WRONG_ENDS)
def test_a_certificate_of_another_authority_is_refused_and_the_worker_ends_with_a_sentence(
    listeners: Listeners, tmp_path: Path, wrong: str
):
    name = "TWEETMILL_BROKER_CA_FILE" if wrong == WRONG_ENDS[0] else "TWEETMILL_DATABASE_CA_FILE"
    worker = WorkerProcess("deceived", "upkeep", tmp_path, **{**listeners.environment(), name: str(listeners.other_authority)})
    try:
        assert worker.exit_code(30) == 1
    finally:
        worker.kill_all()
    assert "certificate verify failed" in worker.log.lower().replace("_", " ")
    assert "Traceback" not in worker.log
    assert "ready." not in worker.log


def test_a_certificate_for_another_host_is_refused(listeners: Listeners):
    elsewhere = listeners.settings("127.0.0.1")
    with broker_client(elsewhere) as client, pytest.raises(RedisConnectionError, match=r"certificate is not valid for '127\.0\.0\.1'"):
        client.ping()
    engine = connect(elsewhere.database())
    with pytest.raises(OperationalError, match=r'does not match host name "127\.0\.0\.1"'):
        engine.connect()


def test_without_a_file_only_what_the_system_trusts_is_trusted_by_celery_too(listeners: Listeners):
    told = Settings(broker_url=listeners.environment()["CELERY_BROKER_URL"])
    with broker_client(told) as client, pytest.raises(RedisConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        client.ping()
    app = Celery("sealed", set_as_current=False)
    app.conf.update(configuration(told))
    with pytest.raises(OperationalErrorOfKombu, match="CERTIFICATE_VERIFY_FAILED"):
        app.connection_for_write().ensure_connection(max_retries=1, timeout=2)
