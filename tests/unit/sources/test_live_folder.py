"""A watched folder as a live source: files in the order of their names, each once, and none before it is whole."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from producers.sources.live import watched_folder
from producers.sources.live.registry import LiveOptions, open_live
from tests.support.live import lines, tweets, until
from workers.ingest.live import Event

Events = Iterator[Event | None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "incoming"
    made.mkdir()
    return made


def watched(folder: Path, cursor: str | None = None) -> Events:
    return open_live(f"{folder}/", LiveOptions()).events(cursor, 0.01)


def test_files_are_read_in_the_order_of_their_names(folder: Path):
    (folder / "b.jsonl").write_text(lines("second"))
    (folder / "a.csv").write_text("id,text\n1,first\n")
    events = watched(folder)
    found = until(events, "second")
    assert tweets(found) == ["first", "second"]
    assert {event.tweet.source for event in found if event.tweet} == {"incoming"}
    (folder / "c.jsonl").write_text(lines("third"))
    assert tweets(until(events, "third")) == ["third"]


def test_the_newest_file_is_read_on_while_it_grows(folder: Path):
    (folder / "a.jsonl").write_text(lines("one"))
    events = watched(folder)
    until(events, "one")
    with (folder / "a.jsonl").open("a") as file:
        file.write(lines("two"))
    assert tweets(until(events, "two")) == ["two"]


def test_a_last_line_that_is_not_whole_holds_up_the_files_behind_it(folder: Path):
    (folder / "a.jsonl").write_text(lines("one") + '{"id": "two", ')
    (folder / "b.jsonl").write_text(lines("three"))
    events = watched(folder)
    assert tweets(until(events, "one")) == ["one"]
    assert next(events) is None
    with (folder / "a.jsonl").open("a") as file:
        file.write('"text": "two"}\n')
    assert tweets(until(events, "three")) == ["two", "three"]


def test_a_writer_that_never_ends_its_line_does_not_hold_up_the_others_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watched_folder, "_GIVEN_UP", 0.0)
    (folder / "a.jsonl").write_text(lines("one") + '{"id": "two", ')
    (folder / "b.jsonl").write_text(lines("three"))
    found = until(watched(folder), "three")
    assert tweets(found) == ["one", "three"]
    assert [event.rejected.key for event in found if event.rejected] == ["a.jsonl 2"]


def test_files_that_are_being_written_are_left_until_they_are_renamed(folder: Path):
    for name in (".hidden.jsonl", "b.jsonl.tmp", "c.jsonl.part"):
        (folder / name).write_text(lines(name))
    events = watched(folder)
    assert next(events) is None
    (folder / "b.jsonl.tmp").rename(folder / "b.jsonl")
    assert tweets(until(events, "b.jsonl.tmp")) == ["b.jsonl.tmp"]


def test_packed_files_are_read_when_they_have_settled(folder: Path):
    packed = folder / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(lines("one", "two").encode()))
    events = watched(folder)
    assert next(events) is None
    before = time.time() - 10
    os.utime(packed, (before, before))
    assert tweets(until(events, "two")) == ["one", "two"]


def test_later_files_wait_for_one_that_is_still_being_written(folder: Path):
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines("first").encode()))
    (folder / "b.jsonl").write_text(lines("second"))
    assert tweets(until(watched(folder), "second")) == ["first", "second"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.gz", "a.txt"])
def test_later_files_wait_for_an_empty_one_whose_writer_has_just_begun(folder: Path, name: str):
    (folder / name).touch()
    (folder / "b.jsonl").write_text(lines("second"))
    events = watched(folder)
    assert [next(events), next(events)] == [None, None]
    written = lines("first").encode()
    (folder / name).write_bytes(gzip.compress(written) if name == "a.gz" else written)
    assert tweets(until(events, "second")) == ["first", "second"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_but_not_for_ever(folder: Path, name: str):
    (folder / name).touch()
    os.utime(folder / name, (time.time() - 61, time.time() - 61))
    (folder / "b.jsonl").write_text(lines("second"))
    assert tweets(until(watched(folder), "second")) == ["second"]


def test_nor_for_a_mark_that_stays_empty(folder: Path):
    (folder / "a.done").touch()
    (folder / "b.jsonl").write_text(lines("second"))
    assert tweets(until(watched(folder), "second")) == ["second"]


def test_nor_for_one_whose_time_lies_in_the_future(folder: Path):
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines("first").encode()))
    os.utime(folder / "a.jsonl.gz", (time.time() + 3600, time.time() + 3600))
    (folder / "b.jsonl").write_text(lines("second"))
    assert tweets(until(watched(folder), "second")) == ["first", "second"]


class Looks:
    """Looks through a folder at the moments that a test names."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source = watched_folder.WatchedFolder(str(folder), LiveOptions())
        self.moment = 0.0
        monkeypatch.setattr(watched_folder, "clock", SimpleNamespace(now=lambda: self.moment))

    def next(self, moment: float, file: str = "") -> str | None:
        """The file that is read behind another."""
        self.moment = moment
        return self.source._next(file)


def of_the_future(path: Path, content: bytes = b"") -> None:
    path.write_bytes(content)
    os.utime(path, (time.time() + 86_400, time.time() + 86_400))


def test_empty_files_whose_times_lie_in_the_future_hold_up_the_others_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(5):
        of_the_future(folder / f"a{number}.jsonl")
    (folder / "b.jsonl").write_text(lines("second"))
    looks = Looks(folder, monkeypatch)
    found = [looks.next(moment) for moment in (0.0, 30.0, 61.0, 63.0)]
    assert found == [None, None, "b.jsonl", "b.jsonl"]
    (folder / "a0.jsonl").unlink()
    looks.next(70.0)
    assert "a0.jsonl" not in looks.source._seen, "nothing is kept of files that were taken away"
    looks.next(80.0, "b.jsonl")
    assert looks.source._seen == {}, "nor of files that are behind"


def test_packed_files_whose_times_lie_in_the_future_settle_beside_each_other(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for name in "abc":
        of_the_future(folder / f"{name}.jsonl.gz", gzip.compress(b"{}\n"))
    looks = Looks(folder, monkeypatch)
    assert looks.next(0.0) is None
    assert [looks.next(3.0), looks.next(3.0, "a.jsonl.gz"), looks.next(3.0, "b.jsonl.gz")] == ["a.jsonl.gz", "b.jsonl.gz", "c.jsonl.gz"]
    of_the_future(folder / "c.jsonl.gz", gzip.compress(b"{}\n{}\n"))
    assert looks.next(4.0, "b.jsonl.gz") is None, "it is still being written"


def test_a_cursor_goes_on_in_the_middle_of_a_file(folder: Path):
    (folder / "a.jsonl").write_text(lines("one", "two"))
    (folder / "b.jsonl").write_text(lines("three"))
    cursor = until(watched(folder), "one")[-1].cursor
    assert tweets(until(watched(folder, cursor), "three")) == ["two", "three"]


def test_a_file_that_was_read_may_be_taken_away(folder: Path):
    (folder / "a.jsonl").write_text(lines("one"))
    cursor = until(watched(folder), "one")[-1].cursor
    (folder / "a.jsonl").unlink()
    (folder / "b.jsonl").write_text(lines("two"))
    assert tweets(until(watched(folder, cursor), "two")) == ["two"]


def test_a_file_that_comes_too_late_is_counted_once_and_not_read(folder: Path):
    (folder / "b.jsonl").write_text(lines("one"))
    events = watched(folder)
    until(events, "one")
    (folder / "a.jsonl").write_text(lines("late"))
    while (late := next(events)) is None:
        pass
    assert late.notice == "file whose name sorts before one that was read"
    (folder / "c.jsonl").write_text(lines("two"))
    assert [event.notice for event in until(events, "two")] == [None]


def test_an_empty_file_that_was_passed_over_is_late_when_it_is_filled(folder: Path):
    (folder / "a.jsonl").touch()
    os.utime(folder / "a.jsonl", (time.time() - 61, time.time() - 61))
    (folder / "b.jsonl").write_text(lines("second"))
    events = watched(folder)
    until(events, "second")
    assert next(events) is None
    (folder / "a.jsonl").write_text(lines("first"))
    while (late := next(events)) is None:
        pass
    assert late.notice == "file whose name sorts before one that was read"


def test_a_file_of_an_unknown_form_costs_itself_and_is_named(folder: Path):
    (folder / "a.jsonl").write_text("<?xml version='1.0'?>\n")
    (folder / "b.jsonl").write_text("{broken\n" + lines("one"))
    (folder / "c.jsonl").write_text("{broken\n" + lines("two"))
    found = until(watched(folder), "two")
    assert tweets(found) == ["one", "two"]
    assert [event.rejected.key for event in found if event.rejected] == ["a.jsonl", "b.jsonl 1", "c.jsonl 1"]


def test_a_file_that_is_taken_away_before_it_is_read_costs_itself(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "b.jsonl").write_text(lines("one"))
    source = watched_folder.WatchedFolder(str(folder), LiveOptions())
    # A file is there when it is looked for, and gone when it is opened.
    names = iter(["a.parquet"])
    following = source._next
    monkeypatch.setattr(source, "_next", lambda file: next(names, None) or following(file))
    monkeypatch.setattr(Path, "is_file", lambda path: path.name != "")
    found = until(source.events(None, 0.01), "one")
    assert [event.rejected.key for event in found if event.rejected][-1] == "a.parquet"


class Counted(watched_folder.WatchedFolder):
    """Counts how often the folder is looked through."""

    looks = 0

    def _names(self) -> list[str]:
        self.looks += 1
        return super()._names()


def test_it_looks_ever_less_often_while_nothing_comes_and_finds_what_comes_within_a_second(folder: Path):
    source = Counted(str(folder), LiveOptions())
    events = source.events(None, 0.01)
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        assert next(events) is None
    assert source.looks <= 7
    (folder / "a.jsonl").write_text(lines("one"))
    began = time.monotonic()
    until(events, "one")
    assert time.monotonic() - began < 3
