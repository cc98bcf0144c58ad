"""The program that serves a model by llama.cpp: where its file lies, and what it says where it can't serve."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_model import build_tiny_model
from workers.exports.engines import llama_server

OPTIONS = ("--quant", "f16", "--context", "256", "--slots", "1", "--threads", "1")


def test_what_killed_starts_left_behind_is_removed_and_that_of_others_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    for name in (str(gone.pid), str(os.getppid()), "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.gguf").write_text("weights")
    own = llama_server._own_folder(tmp_path)
    assert own == tmp_path / str(os.getpid())
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted((str(os.getppid()), "notes", own.name))


def test_a_disk_that_is_full_is_told_with_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(llama_server, "write_gguf", full)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert llama_server.main(["base", str(tmp_path / "1.sock"), "--scratch", str(tmp_path / "gguf"), *OPTIONS]) == llama_server.UNUSABLE
    said = capsys.readouterr().err
    assert said.startswith("NoRoom: the file can't be written (No space left on device): ")
    assert "MiB are free" in said
    assert not list((tmp_path / "gguf").iterdir())


def test_a_file_that_llama_cpp_does_not_load_is_told(tmp_path: Path) -> None:
    base = build_tiny_model(tmp_path / "base")
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] | unheard_of }}{% for m in messages %}{{ m.content }}{% endfor %}")
    served = [str(base), str(tmp_path / "1.sock"), "--scratch", str(tmp_path / "s"), *OPTIONS]
    command = [sys.executable, "-m", "workers.exports.engines.llama_server", *served]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == llama_server.UNUSABLE
    assert ended.stderr.splitlines()[-1].partition(":")[0] in {"CannotLoad", "UnusableTemplate", "NotExportable"}
    assert not list((tmp_path / "s").iterdir())
