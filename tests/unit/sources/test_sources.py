"""Reading tweets: every form, every way in which a line can be bad, and resuming."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.sources import Line, SourceError, read
from schemas.records import TweetRecord


@pytest.fixture
def write(tmp_path: Path):
    def _write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


def tweets(lines: list[Line]) -> list[TweetRecord]:
    return [line.tweet for line in lines if line.tweet]


def refusals(lines: list[Line]) -> list[tuple[int, str | None]]:
    return [(line.rejected.line, line.rejected.field) for line in lines if line.rejected]


def test_json_lines_become_tweets_that_carry_the_files_name(write):
    path = write("march.jsonl", '{"id": "1", "text": "so hungry"}\n{"id": 2, "text": "café ☕"}\n')
    assert list(read(path)) == [
        Line(1, TweetRecord(id="1", text="so hungry", source="march")),
        Line(2, TweetRecord(id="2", text="café ☕", source="march")),
    ]


def test_the_source_may_be_named(write):
    assert tweets(list(read(write("a.jsonl", '{"id":"1","text":"x"}'), source="support")))[0].source == "support"


def test_byte_order_mark_crlf_and_blank_lines_are_no_matter(write):
    path = write("a.jsonl", b'\xef\xbb\xbf{"id":"1","text":"x"}\r\n\r\n   \n{"id":"2","text":"y"}\r\n')
    assert [(line.number, line.tweet and line.tweet.text) for line in read(path)] == [(1, "x"), (4, "y")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt", "a.jsonl.gz"])
def test_an_empty_file_yields_nothing(write, name):
    assert list(read(write(name, b""))) == []


def test_an_x_api_v2_page_yields_a_tweet_for_each_of_its_data(write):
    page = {
        "data": [
            {"id": "11", "text": "short", "author_id": "7", "created_at": "2024-05-01T12:30:00.000Z", "lang": "en",
             "edit_history_tweet_ids": ["11"]},
            {"id": "12", "text": "cut off…", "note_tweet": {"text": "the whole long post"}},
            {"id": "13", "text": "RT @bo: cut o…", "referenced_tweets": [{"type": "retweeted", "id": "9"}]},
        ],
        "includes": {"users": [{"id": "7", "username": "al"}], "tweets": [{"id": "9", "text": "cut off no more"}]},
        "meta": {"result_count": 3},
    }  # fmt: skip
    lines = list(read(write("page.json", json.dumps(page))))
    assert [line.number for line in lines] == [1, 1, 1]
    first, second, third = tweets(lines)
    assert (first.author, first.lang, first.created_at) == ("7", "en", datetime(2024, 5, 1, 12, 30, tzinfo=UTC))
    assert second.text == "the whole long post"
    assert third.text == "RT @bo: cut off no more"


def test_a_pretty_printed_document_is_read_as_one(write):
    document = json.dumps({"data": [{"id": "1", "text": "x"}, {"id": "2", "text": ""}]}, indent=2)
    lines = list(read(write("page.json", document)))
    assert [tweet.id for tweet in tweets(lines)] == ["1"]
    assert refusals(lines) == [(1, "text")]


def test_bare_v2_objects_and_streamed_ones_are_read(write):
    path = write(
        "s.jsonl",
        '{"data": {"id": "1", "text": "streamed"}, "matching_rules": []}\n'
        '{"id": "2", "text": "cut…", "edit_history_tweet_ids": ["2"], "note_tweet": {"text": "whole"}, "author_id": "5"}\n',
    )
    assert [(tweet.text, tweet.author) for tweet in tweets(list(read(path)))] == [("streamed", None), ("whole", "5")]


def test_v1_objects_keep_their_exact_id_and_their_own_date_form(write):
    old = {"id": 1.2e18, "id_str": "1200000000000000001", "full_text": "hello", "user": {"screen_name": "al"},
           "created_at": "Wed Aug 27 13:08:45 +0000 2008", "lang": "en"}  # fmt: skip
    (tweet,) = tweets(list(read(write("old.jsonl", json.dumps(old)))))
    assert tweet == TweetRecord(id="1200000000000000001", text="hello", source="old", author="al", lang="en",
                          created_at=datetime(2008, 8, 27, 13, 8, 45, tzinfo=UTC))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"id": "2", "text": "x", "conversation": "1"}'),
        ("a.jsonl", '{"id": "2", "text": "x", "conversation_id": 1}'),
        ("a.jsonl", '{"id": "2", "text": "x", "conversation_id": "1", "edit_history_tweet_ids": ["2"]}'),
        ("a.jsonl", '{"data": [{"id": "2", "text": "x", "conversation_id": "1"}]}'),
        ("a.jsonl", '{"id_str": "2", "full_text": "x", "in_reply_to_status_id_str": "1", "in_reply_to_status_id": 1}'),
        ("a.jsonl", '{"id_str": "2", "full_text": "x", "in_reply_to_status_id": 1}'),
        ("a.csv", "id,text,conversation_id\n2,x,1\n"),
    ],
)
def test_the_conversation_is_read_where_a_form_names_it_or_the_tweet_that_is_answered(write, name, content):
    assert [tweet.conversation for tweet in tweets(list(read(write(name, content))))] == ["1"]


@pytest.mark.parametrize("told", ["null", '""', "1.8e18", '"1.8E+18"', "true", "[]", '"a\\u0000b"'])
def test_a_conversation_that_can_be_none_costs_no_tweet(write, told):
    line = '{"id_str": "2", "full_text": "x", "in_reply_to_status_id": ' + told + "}"
    assert [tweet.conversation for tweet in tweets(list(read(write("a.jsonl", line))))] == [None]


def test_a_v1_retweet_is_made_whole_from_the_tweet_it_repeats(write):
    old = {"id_str": "1", "text": "RT @al: the end is m…", "retweeted_status": {"id_str": "0", "full_text": "the end is missing"}}
    assert tweets(list(read(write("old.jsonl", json.dumps(old)))))[0].text == "RT @al: the end is missing"


def test_csv_is_read_by_the_names_of_its_columns(write):
    path = write("t.csv", 'tweet_id,airline,Text\r\n5,Blue,"Late, again\nand ""again"""\r\n6,Red,fine\r\n')
    assert [(line.number, line.tweet and line.tweet.id, line.tweet and line.tweet.text) for line in read(path)] == [
        (2, "5", 'Late, again\nand "again"'),
        (4, "6", "fine"),
    ]


def test_without_an_id_the_same_text_gets_the_same_id_wherever_it_stands(write):
    once = tweets(list(read(write("a.csv", "text\nhello\nbye\n"))))
    again = tweets(list(read(write("b.jsonl", '{"text": "hello"}\n'))))
    assert once[0].id == again[0].id != once[1].id


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2015-02-24T11:35:52Z", datetime(2015, 2, 24, 11, 35, 52, tzinfo=UTC)),
        ("2015-02-24 11:35:52 +0000", datetime(2015, 2, 24, 11, 35, 52, tzinfo=UTC)),
        ("2015-02-24 11:35:52", datetime(2015, 2, 24, 11, 35, 52, tzinfo=UTC)),
        ("2/3/2015 11:35", None),
        ("", None),
    ],
)
def test_a_date_is_read_where_it_is_clear_and_left_out_where_it_is_not(write, written, meant):
    assert tweets(list(read(write("a.csv", f"id,text,created_at\n1,x,{written}\n"))))[0].created_at == meant


def test_gzip_is_undone_whatever_the_name(write):
    packed = gzip.compress(b'{"id":"1","text":"x"}\n')
    assert len(tweets(list(read(write("a.jsonl.gz", packed))))) == 1
    assert len(tweets(list(read(write("nameless", packed))))) == 1


def test_standard_input_is_read_for_a_dash(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b'{"id":"1","text":"piped"}\n'))))
    assert tweets(list(read("-"))) == [TweetRecord(id="1", text="piped", source="stdin")]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"id": "1", "text": "secret', None),
        (b'"secret"', None),
        (b'{"id": "1"}', "text"),
        (b'{"id": "1", "text": "  "}', "text"),
        (b'{"id": "1", "text": [["secret"]]}', "text"),
        (b'{"id": "1", "text": "secret\\u0000"}', "text"),
        (b'{"id": "1", "text": "secret \\ud83d"}', "text"),
        (b'{"id": "1", "text": "secret \xff"}', None),
        (b'{"id": null, "text": "secret"}', "id"),
        (b'{"id": 1.5, "text": "secret"}', "id"),
        (b'{"id": true, "text": "secret"}', "id"),
        (b'{"id": "", "text": "secret"}', "id"),
        (b'{"id": "1.23E+17", "text": "secret"}', "id"),
        (b'{"errors": [{"title": "Not Found"}]}', None),
        (b'{"id": "1", "text": "secret", "n": ' + b"9" * 5000 + b"}", None),
        (b"[" * 100_000, None),
        (b'{"id": "1", "text": "' + b"secret " * 4000 + b'"}', "text"),
    ],
)
def test_a_bad_line_is_refused_by_field_and_its_neighbours_are_read(write, content, field):
    path = write("a.jsonl", b'{"id":"0","text":"before"}\n' + content + b'\n{"id":"9","text":"after"}\n')
    lines = list(read(path))
    assert [tweet.text for tweet in tweets(lines)] == ["before", "after"]
    assert refusals(lines) == [(2, field)]
    assert all("secret" not in line.rejected.reason for line in lines if line.rejected)


@pytest.mark.parametrize(
    "row",
    [b"7", b"7,\xff\xfe", b"7,nul\x00", b'7,"left open', b'7,"closed" early"', b"7, ", b",no id"],
)
def test_a_bad_csv_row_costs_that_row_alone(write, row):
    path = write("a.csv", b"id,text\n1,before\n" + row + b'\n2,after\n3,"quoted, too"\n')
    lines = list(read(path))
    assert [tweet.text for tweet in tweets(lines)] == ["before", "after", "quoted, too"]
    assert [number for number, _ in refusals(lines)] == [3]


def test_a_quote_in_the_middle_of_an_unquoted_cell_is_a_character(write):
    assert tweets(list(read(write("a.csv", 'id,text\n1,a 5" pipe\n2,next\n'))))[0].text == 'a 5" pipe'


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("a.csv", "id,said\n1,x\n", "map text=COLUMN"),
        ("a.txt", "just some words\n", "JSON Lines"),
        ("a.txt", "1651234567890123456\n1651234567890123457\n", "twarc2 hydrate"),
        ("a.csv", "tweet_id,score\n1651234567890123456,0.5\n", "map text=COLUMN.*twarc2 hydrate"),
        ("a.xml", "<rss><channel/></rss>", "XML"),
        ("a.csv", "id,text\n1,x\n".encode("utf-16-le"), "encoding utf-16-le"),
        ("a.jsonl.gz", gzip.compress(b'{"id":"1","text":"x"}\n' * 1000, mtime=0)[:-20], "again"),
    ],
)
def test_a_file_of_no_known_form_says_what_to_give_instead(write, name, content, advice):
    with pytest.raises(SourceError, match=advice):
        list(read(write(name, content)))


def test_what_is_no_file_is_refused_at_once(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        read(tmp_path / "nowhere.jsonl")
    with pytest.raises(SourceError, match="folder"):
        read(tmp_path)


@pytest.mark.parametrize(("name", "head"), [("a.jsonl", ""), ("a.csv", "id,text\n")])
def test_lines_that_were_done_are_skipped_and_numbers_stay(write, name, head):
    rows = [f'{{"id":"{n}","text":"t{n}"}}' if name == "a.jsonl" else f"{n},t{n}" for n in range(5)]
    path = write(name, head + "\n".join(rows))
    every = list(read(path))
    assert list(read(path, skip=every[2].number)) == every[3:]


def test_reading_holds_one_line_at_a_time(write):
    def endless():
        yield b'{"id":"1","text":"x"}\n'
        raise AssertionError("the reader went beyond the line that was asked for")

    class Slow(io.RawIOBase):
        def __init__(self):
            self.parts = endless()

        def readable(self):
            return True

        def readinto(self, buffer):
            part = next(self.parts)
            buffer[: len(part)] = part
            return len(part)

    saved, sys.stdin = sys.stdin, io.TextIOWrapper(io.BufferedReader(Slow()))
    try:
        assert next(iter(read("-"))).tweet is not None
    finally:
        sys.stdin = saved


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), min_size=1), max_size=5))
def test_whatever_the_csv_writer_writes_is_read_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([[f"n{number}", text] for number, text in enumerate(texts)])
    assert [tweet.text for tweet in tweets(list(read(path)))] == [text for text in texts if text.strip()]


@given(st.binary(max_size=300))
def test_no_line_of_bytes_stops_the_reader(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("raw") / "a.jsonl"
    path.write_bytes(b'{"id":"0","text":"x"}\n' + content.replace(b"\xff\xfe", b"") + b'\n{"id":"1","text":"last"}')
    assert tweets(list(read(path)))[-1].text == "last"
