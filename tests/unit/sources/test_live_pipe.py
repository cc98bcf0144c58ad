"""Standard input as a live source: lines are yielded as they come, and silence does not hold up what came before."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.sources.live import line_events
from producers.sources.live.line_splitting import Splitter
from producers.sources.live.registry import LiveOptions, open_live
from producers.sources.names import Names
from workers.ingest.live import Event
from workers.ingest.readers.errors import SourceError


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.FileIO]:
    """The end of standard input into which a test writes."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "wb", buffering=0) as into:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield into


def texts(events: list[Event | None]) -> list[str]:
    return [event.tweet.text for event in events if event is not None and event.tweet is not None]


def test_a_line_is_yielded_before_the_next_one_comes(pipe: io.FileIO):
    events = open_live("-", LiveOptions()).events(None, idle_seconds=0.01)
    pipe.write(b'{"id": "1", "text": "first"}\n{"id": "2", "te')
    first = next(events)
    assert first is not None
    assert first.tweet is not None
    assert (first.tweet.id, first.tweet.source) == ("1", "stdin")
    assert next(events) is None  # half a line is no line
    pipe.write(b'xt": "second"}\n')
    assert texts([next(events)]) == ["second"]


def test_a_last_line_without_an_end_counts_when_the_pipe_is_closed(pipe: io.FileIO):
    pipe.write(b'{"id": "1", "text": "first"}\n{"id": "2", "text": "last"}')
    pipe.close()
    assert texts(list(open_live("-", LiveOptions()).events(None))) == ["first", "last"]


def test_a_line_that_is_no_tweet_costs_itself(pipe: io.FileIO):
    pipe.write(b'{"id": "1", "text": "good"}\n{"id": broken\n{"id": "3", "text": "good too"}\n{"delete": {"status": {"id": 1}}}\n')
    pipe.close()
    events = [event for event in open_live("-", LiveOptions()).events(None) if event is not None]
    assert texts(list(events)) == ["good", "good too"]
    assert [event.rejected.key for event in events if event.rejected] == ["2"]
    assert [event.notice for event in events if event.notice] == ["deletion"]


def test_the_tweets_of_a_page_on_one_line_are_read_again_until_all_of_them_are_stored(pipe: io.FileIO):
    pipe.write(b'{"id": "0", "text": "before"}\n[{"id": "1", "text": "one"}, {"id": "2", "text": "two"}]\n')
    pipe.close()
    events = [event for event in open_live("-", LiveOptions()).events(None) if event is not None]
    assert texts(list(events)) == ["before", "one", "two"]
    assert [json.loads(event.cursor)["line"] for event in events] == [1, 1, 2]


def test_a_table_has_its_header_whenever_its_rows_come(pipe: io.FileIO):
    events = open_live("-", LiveOptions(name="club")).events(None, idle_seconds=0.01)
    pipe.write(b"id,text\n1,one\n")
    assert texts([next(events)]) == ["one"]
    pipe.write(b'2,"a cell\n')
    assert next(events) is None  # its quote is open
    pipe.write(b'of two lines"\n3,three\n')
    assert texts([next(events), next(events)]) == ["a cell\nof two lines", "three"]


@pytest.mark.parametrize("separator", [b",", b"\t"])
@pytest.mark.parametrize("cell", [b'6" nail', b'he said "no', b'"quoted" twice "', b'"a ""word"" of it"'])
def test_a_quote_that_opens_no_cell_holds_nothing_back(pipe: io.FileIO, separator: bytes, cell: bytes):
    events = open_live("-", LiveOptions(name="club")).events(None, idle_seconds=0.01)
    pipe.write(b"id" + separator + b"text\n1" + separator + cell + b"\n")
    assert next(events) is not None


def test_mapped_names_hold(pipe: io.FileIO):
    pipe.write(b'{"nr": "7", "says": "mapped"}\n')
    pipe.close()
    options = LiveOptions(names=Names({"text": "says", "id": "nr"}))
    assert texts(list(open_live("-", options).events(None))) == ["mapped"]


def test_what_is_neither_json_nor_a_table_is_refused_as_a_whole(pipe: io.FileIO):
    pipe.write(b"<?xml version='1.0'?>\n")
    pipe.close()
    with pytest.raises(SourceError, match="XML"):
        list(open_live("-", LiveOptions()).events(None))


def test_a_named_pipe_is_read_too(tmp_path: Path):
    fifo = tmp_path / "tweets"
    os.mkfifo(fifo)
    keep_open = os.open(fifo, os.O_RDWR)
    events = open_live(str(fifo), LiveOptions()).events(None, idle_seconds=0.01)
    assert next(events) is None
    os.write(keep_open, b'{"id": "1", "text": "through a pipe"}\n')
    assert texts([next(events)]) == ["through a pipe"]
    os.close(keep_open)


def test_a_named_pipe_without_a_writer_is_silent_until_one_comes(tmp_path: Path):
    fifo = tmp_path / "tweets"
    os.mkfifo(fifo)
    events = open_live(str(fifo), LiveOptions()).events(None, idle_seconds=0.01)
    assert next(events) is None
    fifo.write_text('{"id": "1", "text": "at last"}\n')
    assert texts(list(events)) == ["at last"]


def test_an_address_that_nothing_takes_is_named():
    with pytest.raises(SourceError, match="nowhere does not exist"):
        open_live("nowhere", LiveOptions())


def test_a_line_that_never_ends_is_refused_and_not_held(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("producers.sources.live.line_splitting.LONGEST_LINE", 100)
    splitter = Splitter()
    for _ in range(50):
        assert list(splitter.feed(b"x" * 10)) == []
        assert sum(map(len, splitter._parts)) <= 100
    lines = [*splitter.feed(b'\n{"id": "1", "text": "next"}\n')]
    found = list(line_events.LineEvents("s", Names(), None).events(lines[1:], lambda offset, _: str(offset)))
    assert lines[0].data is None
    assert (lines[1].start, lines[1].number) == (501, 2)
    assert texts(list(found)) == ["next"]
    assert found[0].cursor == str(lines[1].end)
