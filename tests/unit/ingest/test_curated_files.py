"""Files that people write: good rows are kept in order, bad rows are named by line, field and reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workers.errors import UserError
from workers.ingest.curated_files import BadLine, CuratedLine, read

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


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (1290000000000000001, "1290000000000000001"), ('="1290000000000000001"', "1290000000000000001"), (" 7 ", "7"), (5.0, "5"),
        ("'1290000000000000001", "1290000000000000001"), (1.29e18, None), ("1.29E+18", None), (None, None), (True, None), ("NULL", None),
    ],
)  # fmt: skip
def test_an_id_is_read_as_that_of_a_tweet(pairs_file, written, meant):
    (line,) = read(pairs_file({**GOOD, "tweet_id": written}), "pairs")
    assert (line.key if isinstance(line, CuratedLine) else None) == meant
    assert isinstance(line, CuratedLine) or line.field == "tweet_id"


def test_pairs_and_references_may_be_tables(tmp_path):
    pairs, references, words = tmp_path / "pairs.csv", tmp_path / "references.tsv", tmp_path / "words.csv"
    pairs.write_text('Tweet_ID;Clean;Summary;notes\n="12";I am here, now.;I am here.;hm\n13;secret;;\n')
    references.write_text("id\ttext\tsummary\n1\tso late\tIt is late.\n")
    words.write_text("id,messy,clean\n1,u r late,you are late\n")
    read_pairs = list(read(pairs, "pairs"))
    assert good(read_pairs) == [CuratedLine(2, key="12", clean="I am here, now.", summary="I am here.")]
    assert [(line.number, line.field) for line in bad(read_pairs)] == [(3, "summary")]
    assert list(read(references, "references")) == [CuratedLine(2, key="1", text="so late", summary="It is late.")]
    assert list(read(words, "references")) == [CuratedLine(2, key="1", text="u r late", clean="you are late")]


def test_a_table_of_pairs_says_which_columns_it_needs(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("id,clean,summary\n1,a,b\n")
    with pytest.raises(UserError, match="line 1 must name the columns tweet_id, clean, summary; it names id, clean, summary"):
        list(read(path, "pairs"))


def test_references_may_carry_more_fields_than_are_needed(tmp_path):
    path = tmp_path / "references.jsonl"
    path.write_text('{"id": "1", "text": "so late", "summary": "It is late.", "source": "x"}\n{"id": "2", "text": "x"}\n')
    lines = list(read(path, "references"))
    assert [line.summary for line in good(lines)] == ["It is late."]
    assert [(line.number, line.field) for line in bad(lines)] == [(2, "summary")]


def test_a_tweet_may_have_several_references(tmp_path):
    path = tmp_path / "references.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": "1", "text": "so late", "summary": summary}) + "\n"
            for summary in (["It is late.", "It's late.", "We are late."], ["It is late."], "It is late.")
        )
    )
    first, second, third = read(path, "references")
    assert first == CuratedLine(1, key="1", text="so late", summary="It is late.", other_summaries=("It's late.", "We are late."))
    assert (second.summary, second.other_summaries) == (third.summary, third.other_summaries) == ("It is late.", ())


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        ([], "the list has 0 texts: give 1 to 100"),
        (["secret"] * 101, "the list has 101 texts"),
        (["secret", ""], "number 2 of 2 is blank"),
        ([" \t", "secret"], "number 1 of 2 is blank"),
        (["secret", None], "number 2 of 2 is no text"),
        (["secret", ["secret"]], "number 2 of 2 is no text"),
        (["secret", "secret\x00"], "NUL"),
        (["secret", "s" * 100_000], "more than"),
        (" ", "it is blank"),
        ({"secret": 1}, "a text, or a list of texts"),
        (7, "a text, or a list of texts"),
        (None, "a text, or a list of texts"),
    ],
)
def test_references_that_cannot_be_used_are_named_and_their_neighbours_are_kept(pairs_file, summary, reason):
    row = {"id": "1", "text": "so late", "summary": "It is late."}
    lines = list(read(pairs_file(row, row | {"summary": summary}, row), "references"))
    assert [line.number for line in good(lines)] == [1, 3]
    (refused,) = bad(lines)
    assert (refused.number, refused.field) == (2, "summary")
    assert reason in refused.reason
    assert "secret" not in refused.reason


def test_several_summaries_are_for_scoring_and_for_json(pairs_file, tmp_path):
    (pair,) = read(pairs_file(GOOD | {"summary": ["secret", "secret"]}), "pairs")
    assert isinstance(pair, BadLine)
    assert pair.field == "summary"
    assert "a pair has one summary" in pair.reason
    table = tmp_path / "references.csv"
    table.write_text('id,text,summary\n1,so late,"[""secret"", ""secret""]"\n2,so late,[It] is late.\n')
    lines = list(read(table, "references"))
    assert [(line.field, "one text" in line.reason) for line in bad(lines)] == [("summary", True)]
    assert [line.summary for line in good(lines)] == ["[It] is late."]


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
