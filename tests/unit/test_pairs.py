"""Files that people write: good rows are kept in order, bad rows are named by line, field and reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workers.curated import BadLine, CuratedLine, read
from workers.errors import UserError

GOOD = {"tweet_id": "1", "clean": "I am here now.", "summary": "I am here."}


@pytest.fixture
def pairs_file(tmp_path: Path):
    def _write(*rows: object) -> Path:
        path = tmp_path / "pairs.jsonl"
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return _write


def good(lines: list[CuratedLine | BadLine]) -> list[CuratedLine]:
    return [line for line in lines if isinstance(line, CuratedLine)]


def bad(lines: list[CuratedLine | BadLine]) -> list[BadLine]:
    return [line for line in lines if isinstance(line, BadLine)]


def test_good_pairs_are_read_in_order_and_blank_lines_passed_over(pairs_file):
    lines = list(read(pairs_file(GOOD, b"", {**GOOD, "tweet_id": 2}), "pairs"))
    assert lines == [
        CuratedLine(1, key="1", clean="I am here now.", summary="I am here."),
        CuratedLine(3, key="2", clean="I am here now.", summary="I am here."),
    ]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (b'{"tweet_id": "9", "clean": "secret', None),
        (b'["secret"]', None),
        (b'{"tweet_id": "9", "clean": "secret \xff", "summary": "s"}', None),
        ({"tweet_id": "9", "clean": "secret"}, "summary"),
        ({"tweet_id": "9", "clean": "secret", "summary": ""}, "summary"),
        ({"tweet_id": 9.5, "clean": "secret", "summary": "s"}, "tweet_id"),
        ({"tweet_id": "9", "clean": "secret\x00", "summary": "s"}, "clean"),
        ({"tweet_id": "9", "clean": "secret", "summary": "s", "summry": "secret"}, "summry"),
    ],
)
def test_a_bad_pair_is_named_and_its_neighbours_are_kept(pairs_file, row, field):
    lines = list(read(pairs_file(GOOD, row, {**GOOD, "tweet_id": "2"}), "pairs"))
    assert [line.key for line in good(lines)] == ["1", "2"]
    assert [(line.number, line.field) for line in bad(lines)] == [(2, field)]
    assert "secret" not in bad(lines)[0].reason


def test_references_may_carry_more_fields_than_are_needed(tmp_path):
    path = tmp_path / "references.jsonl"
    path.write_text('{"id": "1", "text": "so late", "summary": "It is late.", "source": "x"}\n{"id": "2", "text": "x"}\n')
    lines = list(read(path, "references"))
    assert [line.summary for line in good(lines)] == ["It is late."]
    assert [(line.number, line.field) for line in bad(lines)] == [(2, "summary")]


def test_references_of_words_are_told_by_their_field_messy(tmp_path):
    path = tmp_path / "words.jsonl"
    path.write_text('{"id": "1", "messy": "u r late", "clean": "you are late", "n_changed": 2}\n{"id": "2", "messy": "x"}\n')
    lines = list(read(path, "references"))
    assert good(lines) == [CuratedLine(1, key="1", text="u r late", clean="you are late")]
    assert [(line.number, line.field) for line in bad(lines)] == [(2, "clean")]


def test_sentences_stand_one_a_line_or_in_a_column(tmp_path):
    plain, table = tmp_path / "sentences.txt", tmp_path / "headlines.csv"
    plain.write_bytes(b"\xef\xbb\xbfShops reopen today.\r\n\r\n  Rain is likely. \nbroken \xff\n")
    table.write_text('n,Text\n1,"Shops reopen, says mayor"\n2\n')
    assert [line.clean for line in good(list(read(plain, "sentences")))] == ["Shops reopen today.", "Rain is likely."]
    assert [line.number for line in bad(list(read(plain, "sentences")))] == [4]
    assert [line.clean for line in good(list(read(table, "sentences")))] == ["Shops reopen, says mayor"]


def test_a_table_without_a_column_of_sentences_says_which_it_needs(tmp_path):
    path = tmp_path / "headlines.csv"
    path.write_text("n,headline\n1,Shops reopen\n")
    with pytest.raises(UserError, match="sentence or clean or text"):
        list(read(path, "sentences"))
