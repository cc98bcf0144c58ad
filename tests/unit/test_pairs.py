"""Files that people write: good rows are kept in order, bad rows are named by line, field and reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from producers.sources import SourceError, read_pairs, read_references, read_sentences

GOOD = {"tweet_id": "1", "clean": "I am here.", "summary": "I am here."}


@pytest.fixture
def pairs_file(tmp_path: Path):
    def _write(*rows: object) -> Path:
        path = tmp_path / "pairs.jsonl"
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return _write


def test_good_pairs_are_read_in_order(pairs_file):
    pairs = read_pairs(pairs_file(GOOD, b"", {**GOOD, "tweet_id": "2"}))
    assert [pair.tweet_id for pair in pairs.rows] == ["1", "2"]
    assert pairs.rejected == []


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (b'{"tweet_id": "9", "clean": "secret', None),
        (b'["secret"]', None),
        (b'{"tweet_id": "9", "clean": "secret \xff", "summary": "s"}', None),
        ({"tweet_id": "9", "clean": "secret"}, "summary"),
        ({"tweet_id": "9", "clean": "secret", "summary": ""}, "summary"),
        ({"tweet_id": "9", "clean": "secret", "summary": "  "}, "summary"),
        ({"tweet_id": 9, "clean": "secret", "summary": "s"}, "tweet_id"),
        ({"tweet_id": "9", "clean": "secret\x00", "summary": "s"}, "clean"),
        ({"tweet_id": "9", "clean": "secret", "summary": "s", "summry": "secret"}, "summry"),
        ({"tweet_id": "1", "clean": "secret", "summary": "secret"}, "tweet_id"),
    ],
)
def test_a_bad_pair_is_named_and_its_neighbours_are_kept(pairs_file, row, field):
    pairs = read_pairs(pairs_file(GOOD, row, {**GOOD, "tweet_id": "2"}))
    assert [pair.tweet_id for pair in pairs.rows] == ["1", "2"]
    (rejected,) = pairs.rejected
    assert (rejected.file, rejected.line, rejected.field) == ("pairs.jsonl", 2, field)
    assert "secret" not in rejected.reason


def test_references_may_carry_more_fields_than_are_needed(tmp_path):
    path = tmp_path / "references.jsonl"
    path.write_text('{"id": "1", "text": "so late", "summary": "It is late.", "source": "x"}\n{"id": "2", "text": "x"}\n')
    references = read_references(path)
    assert [reference.summary for reference in references.rows] == ["It is late."]
    assert [(rejected.line, rejected.field) for rejected in references.rejected] == [(2, "summary")]


def test_sentences_stand_one_a_line(tmp_path):
    path = tmp_path / "sentences.txt"
    path.write_bytes(b"\xef\xbb\xbfShops reopen today.\r\n\r\n  Rain is likely. \nbroken \xff\nnul \x00\n")
    sentences = read_sentences(path)
    assert sentences.rows == ["Shops reopen today.", "Rain is likely."]
    assert [rejected.line for rejected in sentences.rejected] == [4, 5]


@pytest.mark.parametrize("reader", [read_pairs, read_references, read_sentences])
def test_a_missing_file_says_so(tmp_path, reader):
    with pytest.raises(SourceError, match="does not exist"):
        reader(tmp_path / "nowhere")
