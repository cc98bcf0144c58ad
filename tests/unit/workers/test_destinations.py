"""A file that a verb writes is whole, or as it was before; a device, a pipe or a link stays what it is."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from producers.cli import main
from workers import destinations
from workers.destinations import DestinationError
from workers.errors import UserError


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        destinations.write_destination(tmp_path / "new", "a\r\nb\n")
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_bytes() == b"a\r\nb\n"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert left(tmp_path) == ["new"]


def test_a_replaced_file_keeps_its_mode(tmp_path):
    old = tmp_path / "old"
    old.write_text("old")
    old.chmod(0o604)
    destinations.write_destination(old, "new")
    assert (old.read_text(), stat.S_IMODE(old.stat().st_mode)) == ("new", 0o604)


def test_what_breaks_in_between_leaves_the_old_file_and_nothing_else(tmp_path):
    old = tmp_path / "old"
    old.write_text("old")

    def break_off() -> None:
        with destinations.open_text(old) as out:
            out.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert (old.read_text(), left(tmp_path)) == ("old", ["old"])


@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path, absolute):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "target"
    target.write_text("old")
    link = tmp_path / "link"
    link.symlink_to(target if absolute else Path("elsewhere/target"))
    destinations.write_destination(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert left(tmp_path / "elsewhere") == ["target"]


def test_a_link_that_leads_nowhere_yet_makes_its_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "later")
    destinations.write_destination(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "later").read_text() == "new"


def test_a_device_is_written_through():
    before = Path("/dev/null").stat()
    destinations.write_destination(Path("/dev/null"), "gone")
    after = Path("/dev/null").stat()
    assert stat.S_ISCHR(after.st_mode)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_a_pipe_is_written_through(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    destinations.write_destination(pipe, "through")
    reader.join(20)
    assert got == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_an_open_file_of_the_system_is_written_behind_what_it_holds(tmp_path):
    with (tmp_path / "redirected").open("w+") as redirected:
        redirected.write("before\n")
        redirected.flush()
        destinations.write_destination(Path(f"/dev/fd/{redirected.fileno()}"), "behind\n")
    assert (tmp_path / "redirected").read_text() == "before\nbehind\n"


def test_a_full_device_is_one_sentence():
    with pytest.raises(UserError, match=r"^/dev/full could not be written \(No space left on device\)"):
        destinations.write_destination(Path("/dev/full"), "x" * 100_000)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    old = tmp_path / "old"
    old.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="what was there before is unchanged"):
        destinations.write_destination(old, "new")
    assert (old.read_text(), left(tmp_path)) == ("old", ["old"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "is a folder: name a file in it"),
        ("missing/file", "there is no such folder to write into"),
        ("a-file/below", "a-file is no folder"),
        ("n" * 300, "nothing can be written there .File name too long"),
        ("loop", "nothing can be written there"),
        ("nul\0", "a path holds no NUL character"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path, path, said):
    (tmp_path / "a-file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DestinationError, match=said):
        destinations.check(tmp_path / path)


def test_a_right_that_is_missing_is_told(tmp_path, monkeypatch):
    (tmp_path / "theirs").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(DestinationError, match="you have no right to write into"):
        destinations.check(tmp_path / "new")
    with pytest.raises(DestinationError, match="you have no right to write to it"):
        destinations.check(Path("/dev/null"))


def test_what_is_read_is_not_written(tmp_path):
    read = tmp_path / "pairs.jsonl"
    read.touch()
    (tmp_path / "link").symlink_to(read)
    os.link(read, tmp_path / "other-name")
    for named in ("pairs.jsonl", "link", "other-name", "./pairs.jsonl"):
        with pytest.raises(DestinationError, match="is what is read"):
            destinations.check(tmp_path / named, [None, read])
    destinations.check(tmp_path / "new", [read])


def test_a_verb_refuses_a_wrong_place_with_exit_code_2(tmp_path, capsys):
    for arguments in (["summaries", "-o", str(tmp_path)], ["noise", "gauge", "--plot", str(tmp_path / "missing" / "a.svg")]):
        assert main(arguments) == 2
        assert "Traceback" not in capsys.readouterr().err
