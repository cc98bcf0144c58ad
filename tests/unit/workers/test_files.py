"""A file or folder is replaced whole or not at all, with the mode that was asked for."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import threading
from pathlib import Path

import pytest

from workers import files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    files.write_text(tmp_path / "result.json", "old")
    files.write_text(tmp_path / "result.json", "né\n", sync=True)
    assert (tmp_path / "result.json").read_bytes() == "né\n".encode()
    files.write_bytes(tmp_path / "result.json", b"\xff\r\n")
    assert (tmp_path / "result.json").read_bytes() == b"\xff\r\n"
    assert names(tmp_path) == ["result.json"]


@pytest.mark.parametrize(("umask", "asked", "found"), [(0o022, 0o666, 0o644), (0o077, 0o666, 0o600), (0o000, 0o600, 0o600)])
def test_the_mode_is_what_the_umask_leaves(umask: int, asked: int, found: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "new", "x", mode=asked)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == found


def test_a_block_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def break_off() -> None:
        with files.atomic_write(tmp_path / "file") as out:
            out.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert ((tmp_path / "file").read_text(), names(tmp_path)) == ("old", ["file"])


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    files.write_text(tmp_path / ("n" * 255), "x")
    assert names(tmp_path) == ["n" * 255]


def test_a_file_is_never_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".tweetmill.guessed.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.write_text(tmp_path / "note", "new")
    assert victim.read_text() == "as it was"


def test_a_reader_sees_the_old_content_or_the_new(tmp_path: Path) -> None:
    path, old, new = tmp_path / "file", "a" * 100_000, "b" * 100_000
    files.write_text(path, old)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            files.write_text(path, new)
            files.write_text(path, old)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        assert {path.read_text() for _ in range(300)} <= {old, new}
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("sync", [False, True])
def test_a_folder_appears_when_it_is_filled(tmp_path: Path, sync: bool) -> None:
    with files.atomic_folder(tmp_path / "model", tmp_path / ".model.new", sync=sync) as aside:
        aside.mkdir()
        (aside / "weights").write_text("w")
        assert not (tmp_path / "model").exists()
    assert (names(tmp_path), names(tmp_path / "model")) == (["model"], ["weights"])


def test_a_folder_that_is_there_is_replaced_only_on_demand(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    (tmp_path / ".new").mkdir()
    (tmp_path / ".new" / "rest of a killed writer").touch()

    def fill(**options: bool) -> None:
        with files.atomic_folder(tmp_path / "model", tmp_path / ".new", **options) as aside:
            aside.mkdir()
            (aside / "new").touch()

    with pytest.raises(OSError, match="not empty"):
        fill()
    assert (names(tmp_path), names(tmp_path / "model")) == (["model"], ["old"])
    fill(replace=True)
    assert (names(tmp_path), names(tmp_path / "model")) == (["model"], ["new"])


def test_digests_are_those_of_hashlib(tmp_path: Path) -> None:
    known = hashlib.sha256("né".encode()).hexdigest()
    (tmp_path / "file").write_text("né", encoding="utf-8")
    assert files.sha256("né") == files.sha256("né".encode()) == files.sha256_of_file(tmp_path / "file") == known
