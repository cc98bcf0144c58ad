"""Folders and files for their owner alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.home import Home
from workers.errors import SettingsError
from workers.file_permissions import close_to_others, discard, make_private, write_private


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_whatever_the_umask_a_home_and_all_in_it_is_for_its_owner(umask: int, tmp_path: Path):
    home = Home(tmp_path / "above" / "home")
    home.prepare()
    home.close()
    home.write_stack({"settings": {}})
    home.request_workers(2)
    held = home.lock()
    assert held is not None
    os.close(held)
    for path in (tmp_path / "above", home.path, *home.path.rglob("*")):
        assert mode(path) & 0o077 == 0, path
        assert mode(path) & 0o600 == 0o600, path
    assert home.take_requested_workers() == 2


def test_a_home_that_an_earlier_version_left_open_is_closed_with_all_that_it_holds(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    home = Home(tmp_path / "home")
    home.prepare()
    (home.path / "runs" / "j" / "1").mkdir(parents=True)
    train = home.path / "runs" / "j" / "1" / "train.jsonl"
    train.write_text("kept")
    (home.path / "models").symlink_to(outside)
    for path in (home.path, *home.path.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777)
    home.close()
    assert mode(home.path) == mode(train.parent) == mode(home.run) == 0o700
    assert mode(train) & 0o077 == 0
    assert train.read_text() == "kept"
    assert mode(outside) == 0o777, "what is linked to is not ours"


def test_a_folder_that_holds_other_things_keeps_its_mode(tmp_path: Path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters").chmod(0o755)
    tmp_path.chmod(0o755)
    home = Home(tmp_path)
    home.prepare()
    home.close()
    assert (mode(tmp_path), mode(tmp_path / "letters"), mode(home.run)) == (0o755, 0o755, 0o700)


def test_a_file_is_never_written_through_what_somebody_laid_there(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    (tmp_path / "note").symlink_to(victim)
    write_private(tmp_path / "note", "new")
    assert (victim.read_text(), (tmp_path / "note").read_text(), (tmp_path / "note").is_symlink()) == ("as it was", "new", False)


def test_what_cannot_be_removed_is_left(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    discard(tmp_path / "folder")
    discard(tmp_path / "nothing")
    assert (tmp_path / "folder").is_dir()


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path):
    tmp_path.chmod(0o755)
    make_private(tmp_path)
    assert mode(tmp_path) == 0o755
    close_to_others(tmp_path)
    assert mode(tmp_path) == 0o700


def test_what_cannot_be_a_home_is_refused_in_a_sentence(tmp_path: Path):
    with pytest.raises(SettingsError, match="TWEETMILL_HOME is the root of the file system"):
        Home(Path(tmp_path.anchor)).prepare()
    with pytest.raises(SettingsError, match="TWEETMILL_HOME is not valid UTF-8"):
        Home(tmp_path / "not-\udcffutf-8").prepare()


@pytest.mark.parametrize("name", ["a,b", "it's", 'a"b', "$(touch x)", "`x`", "a b", "per%cent", "é", "new\nline", "?#", "d" * 150])
def test_a_socket_lies_where_no_client_can_misread_its_path(name: str, tmp_path: Path):
    home = Home(tmp_path / name)
    home.prepare()
    sockets = home.sockets
    assert sockets != home.run
    assert mode(sockets) == 0o700
    assert sockets == Home(tmp_path / name).sockets, "it must be found again"
    sockets.rmdir()
