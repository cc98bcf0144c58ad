"""The users of Redis: each does its work, and nothing beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from tests.conftest import Servers
from tests.support.valkey import free_port, make_secrets, valkey
from tests.support.worker_process import WorkerProcess, wait_for


@dataclass(frozen=True)
class Broker:
    """A Valkey whose users are those of `make secrets`."""

    port: int
    passwords: dict[str, str]
    environment: dict[str, str]

    def client(self, user: str) -> Any:
        return Redis(port=self.port, username=user, password=self.passwords[user], decode_responses=True)

    def settings_of(self, user: str) -> dict[str, str]:
        """What a process of this user is told."""
        return {**self.environment, "CELERY_BROKER_URL": f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.port}/0"}

    def run(self, user: str, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.settings_of(user)}
        return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=60, check=False)

    def denied(self) -> list[tuple[str, str]]:
        """Who was denied what, since the last look."""
        with self.client("admin") as admin:
            entries = [(entry["username"], entry["object"]) for entry in admin.acl_log()]
            admin.acl_log_reset()
        return entries


@pytest.fixture(scope="module")
def broker(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    passwords = make_secrets(folder)
    environment = {"DATABASE_URL": servers.database_url, "TWEETMILL_HOME": str(folder / "home")}
    # DEBUG is switched on, so that it is the user's rights that forbid it.
    options = {"aclfile": folder / "secrets" / "redis_users.acl", "enable-debug-command": "local"}
    with valkey(folder, options) as port:
        yield Broker(port, passwords, environment)


@pytest.fixture
def worker(broker: Broker, clean_database: Any, tmp_path: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess("bound", "upkeep,summarization", tmp_path, **broker.settings_of("worker"))
    try:
        assert wait_for(process.is_ready), process.log
        yield process
    finally:
        process.kill_all()


PING = "from workers.app import app, pending; app.send_task('upkeep.ping', queue='upkeep'); pending('upkeep')"


def test_a_worker_does_what_a_producer_asks_and_neither_is_denied_anything(broker: Broker, worker: WorkerProcess):
    asked = broker.run("producer", "-c", PING)
    assert asked.returncode == 0, asked.stderr
    assert wait_for(lambda: bool(re.search(r"Task upkeep\.ping\S+ succeeded", worker.log))), worker.log
    time.sleep(2)  # two rounds of upkeep more
    status = broker.run("producer", "-c", "from producers.cli import main; raise SystemExit(main(['status', '--json']))")
    assert status.returncode == 0, status.stdout + status.stderr
    assert '"problems": []' in status.stdout
    worker.process.terminate()
    assert worker.exit_code(20) == 0, worker.log
    assert broker.denied() == []


def test_flower_sees_workers_and_queues_and_is_denied_nothing(broker: Broker, worker: WorkerProcess, tmp_path: Path):
    port = free_port()
    environment = {**os.environ, **broker.settings_of("flower"), "TWEETMILL_HOME": str(tmp_path), "TWEETMILL_FLOWER_PORT": str(port)}
    environment.pop("DATABASE_URL")
    with (tmp_path / "flower.log").open("wb") as log:
        flower = subprocess.Popen([sys.executable, "-m", "deploy.flower"], env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        password = tmp_path / "secrets" / "flower_password"

        def lists() -> bool:
            try:
                answer = httpx.get(
                    f"http://127.0.0.1:{port}/api/workers?refresh=1", auth=("tweetmill", password.read_text().strip()), timeout=20
                )
            except (httpx.HTTPError, OSError):
                return False
            return worker.name in answer.text

        assert wait_for(lists, 60), (tmp_path / "flower.log").read_text()
        assert broker.denied() == []
    finally:
        flower.terminate()
        flower.wait(20)


FORBIDDEN: dict[str, Callable[[Any], Any]] = {
    "FLUSHALL": lambda client: client.flushall(),
    "FLUSHDB": lambda client: client.flushdb(),
    "CONFIG GET": lambda client: client.config_get("*"),
    "CONFIG SET": lambda client: client.config_set("maxmemory-policy", "allkeys-lru"),
    "KEYS": lambda client: client.keys("*"),
    "SCAN": lambda client: client.scan(),
    "DEBUG": lambda client: client.execute_command("DEBUG", "JMAP"),
    "MONITOR": lambda client: client.execute_command("MONITOR"),
    "SHUTDOWN": lambda client: client.execute_command("SHUTDOWN", "NOSAVE"),
    "CLIENT KILL": lambda client: client.client_kill_filter(_type="normal"),
    "CLIENT PAUSE": lambda client: client.client_pause(1000),
    "ACL LIST": lambda client: client.acl_list(),
    "MODULE LIST": lambda client: client.module_list(),
    "REPLICAOF": lambda client: client.replicaof("example.org", 6379),
    "a key of somebody else": lambda client: client.get("somebody-elses"),
    "SCRIPT FLUSH": lambda client: client.script_flush(),
}


@pytest.mark.parametrize("user", ["worker", "producer", "flower"])
def test_nobody_but_the_admin_may_empty_configure_list_or_spy(broker: Broker, user: str):
    with broker.client(user) as client:
        allowed = []
        for name, command in FORBIDDEN.items():
            try:
                command(client)
            except NoPermissionError:
                continue
            allowed.append(name)
    assert allowed == []
    broker.denied()


def test_a_producer_runs_no_script_takes_no_message_and_makes_no_agreement(broker: Broker):
    with broker.client("producer") as client:
        for command in (
            lambda: client.eval("return 1", 0),
            lambda: client.rpop("training"),
            lambda: client.delete("training"),
            lambda: client.set("tweetmill.visibility_timeout", 1),
        ):
            with pytest.raises(NoPermissionError):
                command()
    broker.denied()


def test_flower_puts_nothing_into_a_queue_of_jobs(broker: Broker):
    with broker.client("flower") as client:
        with pytest.raises(NoPermissionError):
            client.lpush("training", "forged")
        with pytest.raises(NoPermissionError):
            client.eval("return redis.call('LPUSH', KEYS[1], 'forged')", 1, "training")
    broker.denied()


def test_who_names_no_user_is_nobody(broker: Broker):
    with Redis(port=broker.port) as client, pytest.raises(AuthenticationError):
        client.ping()
    with Redis(port=broker.port, username="health", password="any") as client:
        assert client.ping()
        with pytest.raises(NoPermissionError):
            client.get("training")


def test_a_worker_of_the_wrong_user_ends_with_a_sentence(broker: Broker, clean_database: Any, tmp_path: Path):
    wrong = WorkerProcess("wrong", "upkeep", tmp_path, **broker.settings_of("producer"))
    try:
        assert wrong.exit_code(30) == 1
    finally:
        wrong.kill_all()
    assert "tweetmill: the Redis user may do too little" in wrong.log
    assert "users.acl.in" in wrong.log
    assert "Traceback" not in wrong.log
    broker.denied()


def test_passwords_are_made_once_and_the_users_anew(tmp_path: Path):
    first = make_secrets(tmp_path)
    users = (tmp_path / "secrets" / "redis_users.acl").read_text()
    assert make_secrets(tmp_path) == first
    assert (tmp_path / "secrets" / "redis_users.acl").read_text() == users
    assert not re.search(r"@\w+@", users)
    assert not [password for password in first.values() if password in users], "hashes alone are written down"
    assert len(set(first.values())) == 4
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
