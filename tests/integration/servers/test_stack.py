"""The one-machine stack: it comes up, it is found again, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import text

from deploy.local.home import Home
from deploy.local.stack import StackSize, up
from deploy.worker import check
from schemas.migrations import head
from schemas.payloads import Queue
from workers.broker import redis_client
from workers.errors import NotReady, SettingsError, Unavailable
from workers.settings import Settings, get_settings

TWEETMILL = (sys.executable, "-c", "import sys; from producers.cli import main; sys.exit(main())")


class Stack:
    """One home, and the commands run on it as a person would."""

    def __init__(self, home: Path) -> None:
        self.home = home
        own = {"TWEETMILL_HOME": str(home), "TWEETMILL_FLOWER_PORT": "5655", "OMP_NUM_THREADS": "1"}
        self.environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "CELERY_BROKER_URL")} | own

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TWEETMILL, *arguments], env=self.environment | environment, capture_output=True, text=True, timeout=120, cwd="/", check=False
        )

    def status(self) -> dict:
        return json.loads(self.run("status", "--json").stdout)

    def names(self) -> list[str]:
        return [worker["name"].partition("@")[0] for worker in self.status()["workers"]]

    def file(self) -> dict:
        return json.loads((self.home / "stack.json").read_text())

    def pid(self, name: str) -> int:
        return int(json.loads((self.home / "run" / f"{name}.json").read_text())["pid"])

    def processes(self) -> list[psutil.Process]:
        """Everything alive that was told of this home."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                return False
            own = process.environ().get("TWEETMILL_HOME") == str(self.home) and process.environ() != dict(os.environ)
            return own or str(self.home) in " ".join(process.cmdline())
        except psutil.Error:
            return False


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack(Path(tempfile.mkdtemp(prefix="tweetmill-")))
    up = stack.run("up", "--workers", "1", "--detach")
    try:
        assert up.returncode == 0, up.stderr
        yield stack
    finally:
        stack.run("down")
        shutil.rmtree(stack.home, ignore_errors=True)


def test_status_tells_of_servers_tables_workers_queues_flower_and_disk(stack):
    status = stack.status()
    assert status["ready"]
    assert status["redis"]["eviction"] == "noeviction"
    assert set(status["redis"]["queues"]) == set(Queue)
    assert status["postgres"]["revision"] == status["postgres"]["head"]
    assert [worker["pid"] for worker in status["workers"]] == [stack.pid("worker1")]
    assert status["disk_free_gib"] > 0


def test_a_second_up_finds_the_first_and_starts_nothing_that_is_there(stack):
    # Flower may still be on its way up on a busy machine.
    assert wait_for(lambda: _answers(stack.file()["flower"]), 60)
    before = stack.file()
    second = stack.run("up", "--workers", "1", "--detach")
    assert second.returncode == 0, second.stderr
    assert "Already up, with 1 worker" in second.stderr
    assert stack.file() == before


def test_a_second_up_adds_workers_and_a_drained_one_stays_down_until_the_next(stack):
    more = stack.run("up", "--workers", "2", "--detach")
    assert "Already up, with 2 worker(s), 1 of them started now" in more.stderr, more.stderr
    assert stack.names() == ["worker1", "worker2"]
    assert "tweetmill drain" in stack.run("up", "--workers", "1").stderr, "how to have fewer"

    drained = stack.run("drain", "worker2", "--wait")
    assert (drained.returncode, "All have left" in drained.stderr) == (0, True), drained.stderr
    assert stack.names() == ["worker1"]
    assert wait_for(lambda: [kept["left"] for kept in stack.file()["processes"] if kept["name"] == "worker2"] == [True], 10)
    time.sleep(2)
    assert stack.names() == ["worker1"], "it was asked to leave, and is not restarted"
    assert "worker2 left after `tweetmill drain`" in stack.run("status").stdout

    assert "1 of them started now" in stack.run("up").stderr
    assert stack.names() == ["worker1", "worker2"]
    stack.run("drain", "worker2", "--wait")


def test_drain_lists_the_workers_when_it_knows_none_of_the_name(stack):
    unknown = stack.run("drain", "worker1", "wroker2")
    assert unknown.returncode == 1
    assert "wroker2: no such one is alive. There are worker1@" in " ".join(unknown.stderr.split())
    assert stack.names() == ["worker1"], "not even those that it knows were asked"
    assert stack.run("drain").returncode == 2


def test_flower_asks_for_the_password_and_then_lists_the_workers(stack):
    url = stack.file()["flower"]
    password = Path(stack.status()["flower"]["password_file"]).read_text().strip()
    assert wait_for(lambda: _answers(url), 15)
    for page in ("/", "/workers", "/tasks", "/api/workers", "/api/tasks"):
        assert httpx.get(url + page).status_code == 401, page
        assert httpx.get(url + page, auth=("tweetmill", "guess")).status_code == 401, page

    def lists_the_worker() -> bool:
        workers = httpx.get(url + "/api/workers", auth=("tweetmill", password), timeout=20).json()
        return any(name.startswith("worker1@") for name in workers)

    assert wait_for(lists_the_worker, 15)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/healthcheck").status_code == 200
    except httpx.TransportError:
        return False


def test_no_password_stands_on_a_command_line_or_in_a_file_that_others_read(stack):
    password = (stack.home / "secrets" / "flower_password").read_text().strip()
    assert not [process for process in stack.processes() if password in " ".join(process.cmdline())]
    assert (stack.home / "secrets").stat().st_mode & 0o077 == 0
    for holder in ("secrets/flower_password", "run/flower.conf.py", "stack.json"):
        assert (stack.home / holder).stat().st_mode & 0o077 == 0, holder


def test_a_server_that_is_killed_is_started_again(stack):
    first = stack.pid("valkey")
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: (stack.home / "run" / "valkey.json").exists() and stack.pid("valkey") != first, 10)
    assert wait_for(lambda: stack.status()["redis"]["answers"], 10)


def test_a_worker_that_is_killed_is_started_again(stack):
    first = stack.pid("worker1")
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: [worker["pid"] for worker in stack.status()["workers"]] not in ([], [first]), 20)
    assert stack.file()["processes"][0]["restarts"] == 1


def test_a_killed_supervisor_leaves_no_worker_and_no_flower_and_up_goes_on_with_its_servers(stack):
    workers_and_flower = [psutil.Process(stack.pid(name)) for name in ("worker1", "flower")]
    postgres = int((stack.home / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(stack.pid("supervisor"), signal.SIGKILL)
    assert psutil.wait_procs(workers_and_flower, timeout=10)[1] == []

    again = stack.run("up", "--workers", "1", "--detach")
    assert again.returncode == 0, again.stderr
    assert stack.status()["ready"]
    assert int((stack.home / "postgres" / "postmaster.pid").read_text().splitlines()[0]) == postgres


def test_workers_share_the_cores_and_spin_on_none_of_them(stack):
    environment = psutil.Process(stack.pid("worker1")).environ()
    assert int(environment["TWEETMILL_THREADS"]) == stack.file()["settings"]["threads"]
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_down_leaves_the_data_and_no_process(stack):
    down = stack.run("down")
    assert down.returncode == 0, down.stderr
    assert wait_for(lambda: stack.processes() == [], 5), stack.processes()
    assert not (stack.home / "stack.json").exists()
    assert (stack.home / "postgres" / "PG_VERSION").exists()
    assert list((stack.home / "valkey" / "appendonlydir").iterdir())
    assert "Nothing was running" in stack.run("down").stderr


def test_status_without_a_stack_says_what_to_do_and_makes_nothing(stack_home):
    stack = Stack(stack_home / "never-used")
    status = stack.run("status")
    assert not stack.home.exists()
    assert status.returncode == 1
    assert "tweetmill up" in status.stderr + status.stdout
    assert "Traceback" not in status.stderr


def test_a_worker_is_refused_when_a_queue_is_unknown(servers):
    with pytest.raises(SettingsError, match="no such queue: nope"):
        check(get_settings(), ["training", "nope"])


@pytest.mark.fault(19)
def test_a_worker_is_refused_when_redis_may_evict_queues(servers, measured):
    with redis_client(servers.broker_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(NotReady, match="noeviction"):
                check(get_settings(), ["training"])
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    check(get_settings(), ["training"])
    measured(workers_refused=1)


def test_a_worker_is_refused_while_the_tables_are_behind(servers, clean_database):
    with clean_database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    try:
        with pytest.raises(NotReady, match="tweetmill migrate"):
            check(get_settings(), ["training"])
    finally:
        with clean_database.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head()})


def test_sockets_of_a_deep_home_have_a_path_that_the_kernel_accepts(tmp_path):
    home = Home(tmp_path / ("deep" * 30))
    socket = home.sockets / "postgres" / ".s.PGSQL.5432"
    assert len(os.fsencode(socket)) < 104
    assert home.sockets.stat().st_mode & 0o066 == 0
    home.sockets.rmdir()


def test_two_commands_never_hold_one_home(stack_home):
    home = Home(stack_home)
    home.prepare()
    held = home.lock()
    assert held is not None
    assert home.lock() is None
    os.close(held)
    again = home.lock()
    assert again is not None
    os.close(again)


def test_a_server_that_the_user_named_is_not_started(stack_home, servers, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", servers.database_url)
    monkeypatch.setenv("CELERY_BROKER_URL", servers.broker_url)
    report: list[str] = []
    with pytest.raises(Unavailable, match="password can't be read"):
        up(Settings(home=stack_home, flower_password_file=stack_home / "missing"), StackSize(workers=1), detach=True, report=report.append)
    assert not [line for line in report if "answers" in line]
    assert not (stack_home / "postgres").exists()
