"""Sources: an address finds its kind, and only what can be read again has a cursor."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from producers.sources import SourceError
from producers.sources.files import FileSource
from producers.sources.registry import open_source
from producers.sources.standard_input import StandardInput

TWEETS = '{"id": "1", "text": "late"}\n{"id": "2", "text": "on time"}\n'


def test_a_file_goes_on_behind_a_position_and_says_how_far_it_is(tmp_path: Path) -> None:
    file = tmp_path / "bus.jsonl"
    file.write_text(TWEETS)
    source = open_source(str(file))

    assert isinstance(source, FileSource)
    assert source.cursor is not None
    assert source.progress() == (0, len(TWEETS))
    assert [line.tweet and (line.tweet.id, line.tweet.source) for line in source.lines(1)] == [("2", "bus")]
    assert source.progress() == (len(TWEETS), len(TWEETS))


def test_standard_input_can_not_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TWEETS.encode())))
    source = open_source("-", "piped")

    assert isinstance(source, StandardInput)
    assert (source.origin, source.cursor, source.progress()) == ("-", None, None)
    assert [line.tweet and line.tweet.source for line in source.lines()] == ["piped", "piped"]


def test_nor_can_a_pipe_that_has_a_path(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = open_source(str(pipe))
    writer = threading.Thread(target=lambda: pipe.write_text(TWEETS))
    writer.start()

    assert (source.cursor, source.progress()) == (None, None)
    assert len(list(source.lines())) == 2
    writer.join()


def test_what_is_not_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source(str(tmp_path / "nothing.jsonl"))
