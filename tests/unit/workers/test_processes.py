"""Which process it is, whatever happens to the clock."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.environment import PROCESS
from deploy.local.finding import at_work_in, holders, listener, marked
from deploy.local.home import Home
from deploy.local.processes import find_process, note
from workers.processes import Identity, identify, is_alive, started

SLEEP = (sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_a_record_holds_though_the_clock_is_set(child: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The wall clock enters a start time as the moment of boot, by which psutil and /proc/stat tell it."""
    record = tmp_path / "worker1.json"
    note(record, child.pid)
    before = psutil.Process(child.pid).create_time()
    with monkeypatch.context() as patched:
        boot = psutil.boot_time()
        for step in (-7200.0, 3600.0, 86400.0 * 400):
            patched.setattr(psutil._pslinux, "boot_time", lambda step=step: boot + step)
            patched.setattr(psutil._pslinux, "BOOT_TIME", None, raising=False)
            patched.setattr(time, "time", lambda: 0.0)
            assert abs(psutil.Process(child.pid).create_time() - before) > 1, "the step was not made"
            found = find_process(record)
            assert found is not None
            assert found.pid == child.pid


def test_a_record_of_an_ended_process_is_not_believed(child: subprocess.Popen[bytes], tmp_path: Path):
    record = tmp_path / "worker1.json"
    note(record, child.pid)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert find_process(record) is None, "a zombie runs nothing"
    child.wait()
    assert find_process(record) is None
    note(record, child.pid)  # there is nothing to note
    assert find_process(record) is None


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_a_process_that_has_the_id_now_is_not_taken_for_the_one_that_had_it(change: dict[str, object], tmp_path: Path):
    mine = identify(os.getpid())
    assert mine is not None
    assert is_alive(mine)
    assert not is_alive(dataclasses.replace(mine, **change))
    (tmp_path / "record").write_text(json.dumps(dataclasses.asdict(mine) | change))
    assert find_process(tmp_path / "record") is None


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff\xfe", b"{", b"null", b"[]", b"5", b'"x"', b"{}", b'{"pid": 1}', b"[" * 100_000, b'{"pid": null, "started": 1}'),
        *(b'{"pid": -1, "started": 0, "boot": ""}', b'{"pid": 1e999, "started": 1, "boot": ""}', b'{"pid": 99999999999999999999}'),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_record_that_holds_anything_is_none(content: bytes, tmp_path: Path):
    (tmp_path / "record").write_bytes(content)
    assert find_process(tmp_path / "record") is None
    (tmp_path / "folder").mkdir()
    assert find_process(tmp_path / "folder") is None
    assert find_process(tmp_path / "record" / "below") is None


def test_a_record_by_the_wall_clock_is_none(tmp_path: Path):
    """As earlier versions wrote it: a clock that was set since would name another process."""
    (tmp_path / "record").write_text(json.dumps({"pid": os.getpid(), "started": psutil.Process().create_time()}))
    assert find_process(tmp_path / "record") is None


def test_a_command_with_spaces_and_parentheses_hides_no_start(tmp_path: Path):
    odd = tmp_path / "x) S 1 (y"
    odd.symlink_to(sys.executable)
    process = subprocess.Popen([str(odd), *SLEEP[1:]])
    try:
        assert started(process.pid) is not None
        assert is_alive(Identity(process.pid, started(process.pid) or 0, identify(os.getpid()).boot))  # type: ignore[union-attr]
    finally:
        process.kill()
        process.wait()


# Without a record


def test_a_process_is_found_by_its_folder_its_mark_and_its_lock(tmp_path: Path):
    home = Home(tmp_path / "it's a $(home)\n")
    home.prepare()
    held = home.lock()
    assert held is not None
    environment = {**os.environ, PROCESS: "worker1", "TWEETMILL_HOME": str(home.path)}
    parent = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    code = f"{parent}; print('here', flush=True); child.wait()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, pass_fds=[held], cwd=home.valkey, start_new_session=True
    )
    os.close(held)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert {name: found.pid for name, found in marked(home.path).items()} == {"worker1": process.pid}, "its child is not another"
        assert marked(tmp_path) == {}
        assert [found.pid for found in holders(home.lock_file)] == [process.pid]
        found = at_work_in(home.valkey, Path(sys.executable).resolve().name[:6])
        assert found is not None
        assert found.pid == process.pid
        assert at_work_in(home.valkey, "valkey-server") is None
        assert home.lock() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert holders(home.lock_file) == []


def test_a_server_is_found_by_its_socket(tmp_path: Path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert listener(path) is None, "it does not listen"
        server.listen()
        found = listener(path)
        assert found is not None
        assert found.pid == os.getpid()
    assert listener(path) is None
    assert listener(tmp_path / ("long" * 50)) is None
