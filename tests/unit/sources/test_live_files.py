"""A file as a live source: it grows, is rotated and emptied while it is read or while nobody reads, and no line is lost or read twice."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producers.sources.live import growing_file
from producers.sources.live.registry import LiveOptions, default_name, open_live
from producers.sources.names import Names
from tests.support.live import lines, tweets, until
from workers import clock
from workers.ingest.live import Event
from workers.ingest.readers.errors import SourceError

IDLE = 0.01
FOLLOW = LiveOptions(follow=True)
Events = Iterator[Event | None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tweets.jsonl"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def empty(path: Path) -> None:
    with path.open("r+") as writer:
        writer.truncate(0)


def packed_copy(path: Path, number: str, text: str, changed: int | None = None) -> None:
    copy = path.with_name(f"{path.name}.{number}")
    copy.write_bytes(gzip.compress(text.encode()))
    if changed is not None:
        os.utime(copy, (changed, changed))


def followed(path: Path, cursor: str | None = None) -> Events:
    return open_live(str(path), FOLLOW).events(cursor, IDLE)


def test_a_file_is_read_to_its_end_and_no_further(path: Path):
    path.write_text(lines("one", "two"))
    source = open_live(str(path), LiveOptions())
    assert source.waits
    assert tweets([event for event in source.events(None) if event is not None]) == ["one", "two"]


def test_a_whole_file_goes_on_behind_its_cursor_when_something_was_added(path: Path):
    path.write_text(lines("one", "two"))
    last = [event for event in open_live(str(path), LiveOptions()).events(None) if event is not None][-1]
    append(path, lines("three"))
    assert tweets([event for event in open_live(str(path), LiveOptions()).events(last.cursor) if event]) == ["three"]
    path.write_text(lines("another file", "of the same name"))
    assert tweets([event for event in open_live(str(path), LiveOptions()).events(last.cursor) if event]) == [
        "another file",
        "of the same name",
    ]


def test_a_half_line_at_the_end_of_a_whole_file_is_read_again_the_next_time(path: Path):
    path.write_text(lines("one") + '{"id": "two", "te')
    found = [event for event in open_live(str(path), LiveOptions()).events(None) if event is not None]
    assert [event.rejected.key for event in found if event.rejected] == ["2"]
    append(path, 'xt": "two"}\n' + lines("three"))
    assert tweets([event for event in open_live(str(path), LiveOptions()).events(found[-1].cursor) if event]) == ["two", "three"]


def test_a_bad_line_that_is_whole_is_not_read_again(path: Path):
    path.write_text(lines("one") + "{}\n")
    found = [event for event in open_live(str(path), LiveOptions()).events(None) if event is not None]
    assert [event for event in open_live(str(path), LiveOptions()).events(found[-1].cursor) if event] == []


def read_whole(path: Path, cursor: str | None = None) -> list[Event]:
    return [event for event in open_live(str(path), LiveOptions()).events(cursor) if event is not None]


def test_a_half_line_is_rejected_alike_as_often_as_it_is_read(path: Path):
    path.write_text(lines("one") + '{"id": "two", "te')
    found = read_whole(path)
    assert read_whole(path, found[-1].cursor) == [found[-1]], "a row that is rejected again is not stored again"


def test_a_half_line_that_its_writer_ends_while_it_is_read_is_read_again_the_next_time(path: Path):
    path.write_text(lines("one") + '{"id": "two", "te')
    events = open_live(str(path), LiveOptions()).events(None)
    found = until(events, "one")
    append(path, 'xt": "two"}\n')
    found += [event for event in events if event is not None]
    assert tweets(read_whole(path, found[-1].cursor)) == ["two"]


def test_the_last_row_of_a_file_that_is_whole_without_a_line_end_is_not_read_again(tmp_path: Path):
    array = tmp_path / "tweets.json"
    array.write_text('[{"id": "1", "text": "one"}, {"id": "2"}]')
    table = tmp_path / "tweets.parquet"
    pq.write_table(pa.table({"id": ["1", "2"], "text": ["one", ""]}), table)
    for path in (array, table):
        found = read_whole(path)
        assert [event.rejected is not None for event in found] == [False, True]
        assert read_whole(path, found[-1].cursor) == []


def test_half_an_array_is_read_on_the_next_time(tmp_path: Path):
    path = tmp_path / "tweets.json"
    path.write_text('[{"id": "1", "text": "one"}, {"id": "2", "te')
    found = read_whole(path)
    append(path, 'xt": "two"}]')
    assert tweets(read_whole(path, found[-1].cursor)) == ["two"]


def test_a_file_has_one_name_however_it_is_typed(path: Path, monkeypatch: pytest.MonkeyPatch):
    path.write_text(lines("one"))
    monkeypatch.chdir(path.parent)
    assert open_live("./tweets.jsonl", FOLLOW).origin == open_live(str(path), FOLLOW).origin == str(path)


def test_a_packed_file_is_read_whole(tmp_path: Path):
    packed = tmp_path / "tweets.jsonl.gz"
    packed.write_bytes(gzip.compress(lines("one", "two").encode()))
    assert tweets([event for event in open_live(str(packed), LiveOptions()).events(None) if event]) == ["one", "two"]


def test_lines_are_yielded_as_they_are_written_and_half_a_line_waits(path: Path):
    path.write_text(lines("one"))
    events = followed(path)
    assert tweets(until(events, "one")) == ["one"]
    append(path, '{"id": "two", ')
    assert next(events) is None
    append(path, '"text": "two"}\n')
    assert tweets(until(events, "two")) == ["two"]


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(path: Path):
    path.write_text(lines("one"))
    events = followed(path)
    until(events, "one")
    old = path.with_name("tweets.jsonl.1")
    with path.open("a") as writer:
        path.rename(old)
        path.write_text(lines("three"))
        writer.write(lines("two"))  # by a writer that has not noticed yet
    assert tweets(until(events, "three")) == ["two", "three"]


def test_a_last_line_without_an_end_counts_when_its_file_was_renamed(path: Path):
    path.write_text(lines("one") + lines("two").rstrip("\n"))
    events = followed(path)
    until(events, "one")
    path.rename(path.with_name("tweets.jsonl.1"))
    path.write_text(lines("three"))
    assert tweets(until(events, "three")) == ["two", "three"]


def test_an_emptied_file_is_read_from_its_beginning(path: Path):
    path.write_text(lines("one", "two"))
    events = followed(path)
    until(events, "two")
    with path.open("r+") as writer:
        writer.truncate(0)
        writer.write(lines("three"))
    assert tweets(until(events, "three")) == ["three"]


def test_an_emptied_file_that_has_grown_longer_than_before_is_noticed(path: Path):
    path.write_text(lines("one"))
    events = followed(path)
    until(events, "one")
    with path.open("r+") as writer:
        writer.truncate(0)
        writer.write(lines("a longer first line", "and a second"))
    assert tweets(until(events, "and a second")) == ["a longer first line", "and a second"]


def test_what_was_written_before_a_file_was_copied_and_emptied_is_read_from_the_copy(path: Path):
    path.write_text(lines("one"))
    events = followed(path)
    until(events, "one")
    append(path, lines("two"))
    shutil.copy(path, path.with_name("tweets.jsonl.1"))
    path.write_text(lines("three"))
    assert tweets(until(events, "three")) == ["two", "three"]


def test_what_was_not_read_of_an_emptied_file_without_a_copy_is_a_hole(path: Path):
    path.write_text(lines("one", "two"))
    events = followed(path)
    assert tweets(until(events, "one")) == ["one"]
    packed_copy(path, "2.gz", lines("of the week before"), 1_700_000_000)
    append(path, lines("never read"))
    empty(path)  # as copytruncate does, whose copy was packed at once
    packed_copy(path, "1.gz", lines("one", "two", "never read"))
    append(path, lines("three"))
    found = until(events, "three")
    assert tweets(found) == ["two", "three"]
    [hole] = [event.hole for event in found if event.hole]
    assert "read up to line 2" in hole.reason
    assert "if anything, is missed" in hole.reason
    assert "tweets.jsonl.1.gz was packed" in hole.reason
    assert "tweets.jsonl.2.gz" not in hole.reason


def test_what_came_while_the_reader_was_held_up_may_be_missed_where_the_file_is_emptied(path: Path, monkeypatch: pytest.MonkeyPatch):
    path.write_text(lines("one"))
    events = followed(path)
    until(events, "one")
    assert next(events) is None
    append(path, lines("never read"))  # while whoever takes the events waits for room
    monkeypatch.setattr(growing_file, "clock", SimpleNamespace(now=lambda: clock.now() + 60))
    path.write_text(lines("two"))
    [hole] = [event.hole for event in until(events, "two") if event.hole]
    assert "read up to line 1" in hole.reason


def test_an_end_that_is_found_while_the_file_is_emptied_is_none(path: Path):
    path.write_text(lines("one"))
    file = growing_file.GrowingFile(path, "x", Names(), None)
    list(file.read() or ())
    empty(path)
    assert file.read() is None
    assert not file.is_read_out
    file.close()


def test_a_file_that_was_read_to_its_end_has_no_hole_when_it_is_emptied(path: Path):
    path.write_text(lines("one"))
    events = followed(path)
    until(events, "one")
    assert next(events) is None
    path.write_text(lines("two"))
    found = until(events, "two")
    assert [event.hole for event in found if event.hole] == []


def test_a_row_whose_quote_was_open_is_read_whole_from_the_copy(tmp_path: Path):
    path = tmp_path / "tweets.csv"
    path.write_text('id,text\n1,one\n2,"of two\n')
    events = followed(path)
    assert tweets(until(events, "one")) == ["one"]
    assert next(events) is None
    append(path, 'lines"\n')
    shutil.copy(path, path.with_name("tweets.csv.1"))
    path.write_text("id,text\n3,three\n")
    assert tweets(until(events, "three")) == ["of two\nlines", "three"]


def rotate_twice(path: Path, packs: bool = False) -> None:
    """The file is rotated, and so is the one behind it before anybody looks."""
    path.rename(path.with_name("tweets.jsonl.2"))
    between = path.with_name("tweets.jsonl.1.gz" if packs else "tweets.jsonl.1")
    between.write_bytes(gzip.compress(lines("three", "four").encode()) if packs else lines("three", "four").encode())
    path.with_name("tweets.jsonl.3").write_text(lines("zero"))
    for age, name in enumerate((between.name, "tweets.jsonl.2", "tweets.jsonl.3"), 1):
        os.utime(path.with_name(name), (1_700_000_000 - age, 1_700_000_000 - age))
    path.write_text(lines("five"))


def test_a_file_between_two_rotations_that_nobody_saw_is_read(path: Path):
    path.write_text(lines("one"))
    events = followed(path)
    until(events, "one")
    append(path, lines("two"))
    rotate_twice(path)
    assert tweets(until(events, "five")) == ["two", "three", "four", "five"]


def test_files_of_several_rotations_since_a_stop_are_read(path: Path):
    path.write_text(lines("one", "two"))
    cursor = until(followed(path), "one")[-1].cursor
    rotate_twice(path)
    found = until(followed(path, cursor), "five")
    assert tweets(found) == ["two", "three", "four", "five"]
    assert tweets(until(followed(path, found[1].cursor), "five")) == ["four", "five"]


def test_a_file_that_was_packed_before_it_was_read_is_a_hole_and_is_said(path: Path):
    path.write_text(lines("one"))
    events = followed(path)
    until(events, "one")
    rotate_twice(path, packs=True)
    found = until(events, "five")
    assert found[0].hole is not None
    assert "tweets.jsonl.1.gz was packed" in found[0].hole.reason
    assert tweets(found) == ["five"]


def test_a_half_line_that_was_copied_and_emptied_is_read_whole_from_the_copy(path: Path):
    path.write_text(lines("one") + '{"id": "two", ')
    events = followed(path)
    until(events, "one")
    assert next(events) is None
    append(path, '"text": "two"}\n')
    shutil.copy(path, path.with_name("tweets.jsonl.1"))
    path.write_text(lines("three"))
    found = until(events, "three")
    assert [event.rejected for event in found if event.rejected] == []
    assert tweets(found) == ["two", "three"]


def test_a_cursor_goes_on_in_the_middle_of_a_file(path: Path):
    path.write_text(lines("one", "two", "three"))
    first = until(followed(path), "one")[-1]
    again = until(followed(path, first.cursor), "three")
    assert tweets(again) == ["two", "three"]


def test_what_was_written_between_a_stop_and_a_rotation_is_found_in_the_renamed_file(path: Path):
    path.write_text(lines("one"))
    cursor = until(followed(path), "one")[-1].cursor
    append(path, lines("two"))
    path.rename(path.with_name("tweets.jsonl-20261126"))
    path.write_text(lines("three"))
    assert tweets(until(followed(path, cursor), "three")) == ["two", "three"]


def test_a_rotated_file_that_is_gone_is_a_hole_and_is_said(path: Path):
    path.write_text(lines("one"))
    cursor = until(followed(path), "one")[-1].cursor
    path.unlink()
    path.write_text(lines("three"))
    found = until(followed(path, cursor), "three")
    assert found[0].hole is not None
    assert "up to line 1" in found[0].hole.reason
    assert tweets(found) == ["three"]
    assert tweets(until(followed(path, found[0].cursor), "three")) == ["three"]


def test_a_cursor_of_something_else_begins_anew(path: Path):
    path.write_text(lines("one"))
    assert tweets(until(followed(path, '{"seq": 7}'), "one")) == ["one"]
    assert tweets(until(followed(path, "no JSON"), "one")) == ["one"]


def test_a_table_knows_its_columns_in_the_middle_of_the_file(tmp_path: Path):
    path = tmp_path / "tweets.csv"
    path.write_text("id,text\n1,one\n")
    events = followed(path)
    cursor = until(events, "one")[-1].cursor
    append(path, '2,"two\n')
    assert next(events) is None
    append(path, 'lines"\n')
    assert tweets(until(events, "two\nlines")) == ["two\nlines"]
    assert tweets(until(followed(path, cursor), "two\nlines")) == ["two\nlines"]


def test_bad_lines_are_named_by_their_numbers(path: Path):
    path.write_text(lines("one") + "{broken\n" + '{"id": "3"}\n' + lines("four"))
    found = until(followed(path), "four")
    assert [event.rejected.key for event in found if event.rejected] == ["2", "3"]


def rejected(events: list[Event]) -> list[str]:
    return [event.rejected.key for event in events if event.rejected]


def test_bad_lines_of_a_rotated_file_are_told_from_those_of_the_file_before(path: Path):
    path.write_text("{broken\n" + lines("one"))
    events = followed(path)
    found = until(events, "one")
    assert rejected(found) == ["1"]
    path.rename(path.with_name("tweets.jsonl.1"))
    path.write_text("{broken\n" + lines("two") + "{broken\n" + lines("three"))
    found = until(events, "three")
    assert rejected(found) == ["1 of file 2", "3 of file 2"]
    assert rejected(until(followed(path, found[1].cursor), "three")) == ["3 of file 2"], "whoever goes on names them alike"
    path.rename(path.with_name("tweets.jsonl.2"))
    path.write_text("{broken\n" + lines("four"))
    assert rejected(until(followed(path, found[-1].cursor), "four")) == ["1 of file 3"]


def test_bad_lines_of_an_emptied_file_and_behind_a_hole_are_told_apart_too(path: Path):
    path.write_text("{broken\n" + lines("one"))
    events = followed(path)
    cursor = until(events, "one")[-1].cursor
    path.write_text("{broken\n" + lines("another"))
    assert rejected(until(events, "another")) == ["1 of file 2"]
    found = until(followed(path, cursor), "another")
    assert [event.hole is not None for event in found] == [True, False, False]
    assert rejected(found) == rejected(until(followed(path, found[0].cursor), "another")) == ["1 of file 2"]


def test_bad_lines_of_another_file_under_the_same_name_are_told_apart_though_nobody_follows_it(path: Path):
    path.write_text("{broken\n" + lines("one"))
    cursor = until(open_live(str(path), LiveOptions()).events(None), "one")[-1].cursor
    path.write_text("{  broken\n" + lines("two"))
    found = until(open_live(str(path), LiveOptions()).events(cursor), "two")
    assert rejected(found) == ["1 of file 2"]
    with path.open("a") as file:
        file.write("{broken\n" + lines("three"))
    assert rejected(until(open_live(str(path), LiveOptions()).events(found[-1].cursor), "three")) == ["3 of file 2"]


def test_the_cursor_of_each_event_leads_to_the_one_behind_it(path: Path):
    path.write_text(lines("one", "two", "three", "four"))
    found = until(followed(path), "four")
    for at, event in enumerate(found[:-1]):
        assert tweets(until(followed(path, event.cursor), "four")) == tweets(found[at + 1 :])


def test_only_text_that_can_be_split_by_bytes_is_followed(tmp_path: Path):
    path = tmp_path / "tweets.jsonl"
    path.write_text(lines("one"), encoding="utf-16")
    with pytest.raises(SourceError, match="iconv"):
        until(followed(path), "one")


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(SourceError, match="nowhere does not exist"):
        open_live("nowhere", FOLLOW)


def test_a_stream_is_named_like_its_source():
    assert default_name("a/tweets.jsonl.gz") == "tweets"
    assert default_name("-") == "stdin"
    assert default_name("a/incoming/") == "incoming"
    assert default_name("bluesky") == "bluesky"
    assert default_name("wss://jetstream.example/subscribe") == "jetstream.example"
    assert default_name("mastodon:mastodon.social") == "mastodon:mastodon.social"
