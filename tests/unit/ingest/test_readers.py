"""From bytes to numbered rows: what a file may be packed in, written in and laid out like, and what is said of the rest."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from workers.ingest.readers.csv_tables import columns_shown
from workers.ingest.readers.errors import SourceError
from workers.ingest.readers.rows import Reading, read
from workers.ingest.readers.text import LONGEST_PIECE, checked_encoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Write = Callable[[str, bytes | str], Path]
LINES = b'{"n": 1}\n{"n": 2}\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


def needs_text(names: Sequence[str], number: int) -> None:
    if "text" not in [name.lower() for name in names]:
        raise SourceError(f"line {number} names no text")


def told(path: Path, encoding: str | None = None) -> list[tuple[str, Any]]:
    """Each row's place, and what it says or why it is refused."""
    return [(row.place, row.refused.reason if row.refused else row.value) for row in read(path, Reading(needs_text, encoding=encoding))]


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return out.getvalue()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"))
    return out.getvalue()


class TestContainers:
    @pytest.mark.parametrize(
        "packed",
        [
            gzip.compress(LINES, mtime=0),
            gzip.compress(LINES[:9], mtime=0) + gzip.compress(LINES[9:], mtime=0),
            bz2.compress(LINES),
            bz2.compress(LINES[:9]) + bz2.compress(LINES[9:]),
            lzma.compress(LINES),
            zstd.compress(LINES),
            zstd.compress(LINES[:9]) + zstd.compress(LINES[9:]),
            b"\x50\x2a\x4d\x18\x02\0\0\0ab" + zstd.compress(LINES),
            zipped(a__jsonl=LINES),
            zipped(a__jsonl=LINES, README__txt=b"words"),
            zipped(a__jsonl__gz=gzip.compress(LINES, mtime=0)),
            gzip.compress(bz2.compress(LINES), mtime=0),
        ],
    )
    def test_what_is_packed_is_told_by_how_it_begins(self, write: Write, packed: bytes) -> None:
        assert told(write("nameless", packed)) == [("line 1", {"n": 1}), ("line 2", {"n": 2})]

    def test_of_the_archive_of_an_account_the_tweets_are_read(self, write: Write) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("data/like.js", "window.YTD.like.part0 = []")
            archive.writestr("data/tweets.js", 'window.YTD.tweets.part0 = [\n{"n": 1}\n]')
        assert told(write("twitter.zip", out.getvalue())) == [("item 1", {"n": 1})]

    @pytest.mark.parametrize(
        "files",
        [
            {
                "data/manifest.js": "window.YTD.manifest = {}",
                "data/tweets-part10.js": 'window.YTD.tweets.part10 = [{"n": 3}]',
                "data/tweets-part2.js": 'window.YTD.tweets.part2 = [\n{"n": 2}\n]\n',
                "data/tweets.js": 'window.YTD.tweets.part0 = [{"n": 1}]',
                "data/deleted-tweets.js": 'window.YTD.deleted_tweets.part0 = [{"n": 9}]',
                "data/notes.txt": "of one's own",
            },
            {"account.js": "window.YTD.account.part0 = []", "tweet.js": 'window.YTD.tweet.part0 = [{"n": 1},{"n": 2},{"n": 3}]'},
            {
                "data/js/tweets/2015_01.js": "x",
                "data/js/tweets/2015_02.js": "x",
                "data/js/user.js": "x",
                "tweets.csv": "text,n\n,1\n,2\n,3\n",
            },
        ],
        ids=["parts", "without folders", "by months"],
    )
    def test_of_any_archive_of_an_account_all_tweets_are_read(self, write: Write, files: dict[str, str]) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        assert [int(row["n"]) for _, row in told(write("twitter.zip", out.getvalue()))] == [1, 2, 3]

    def test_a_zip_inside_another_archive_is_told(self, write: Write) -> None:
        with pytest.raises(SourceError, match="inside another archive: give the zip file itself"):
            told(write("a.zip.gz", gzip.compress(zipped(a__jsonl=LINES), mtime=0)))

    @pytest.mark.parametrize(
        ("content", "advice"),
        [
            (zipped(a__jsonl=LINES, b__jsonl=LINES), "holds 2 files of data: a.jsonl, b.jsonl. Unpack"),
            (zipped(a__png=b"x", b__exe=b"x"), "no file of data"),
            (zipped(**{"[Content_Types]__xml": b"x", "xl/workbook__xml": b"x"}), "save its sheet as CSV"),
            (zipped(mimetype=b"x", content__xml=b"x"), "OpenDocument"),
            (gzip.compress(tar(), mtime=0), "tar xf"),
            (b"SQLite format 3\0" + bytes(90), "sqlite3 -header -csv"),
            (b"%PDF-1.7\n", "a PDF"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(90), "Excel workbook of the old kind"),
            (b"7z\xbc\xaf\x27\x1c\0\0", "7z x FILE"),
            (pickle.dumps([{"n": 1}]), "pickle"),
            (b"\x89PNG\r\n\x1a\n\0\0", "a picture"),
            (b"<?xml version='1.0'?><rss/>", "XML or HTML"),
            (b"<!DOCTYPE html>", "XML or HTML"),
            (b"\x01\0\x02\x03\0 what\n", "not text"),
            (b"words and words\n", "neither JSON nor a table"),
            (LINES.decode().encode("utf-16-le"), "--encoding utf-16-le"),
            (LINES.decode().encode("utf-16-be"), "--encoding utf-16-be"),
            (gzip.compress(gzip.compress(gzip.compress(LINES, mtime=0), mtime=0), mtime=0), "more than 3 archives"),
        ],
    )
    def test_what_cannot_be_read_is_named_with_what_to_do(self, write: Write, content: bytes, advice: str) -> None:
        with pytest.raises(SourceError, match=advice.replace("(", r"\(")):
            told(write("nameless", content))

    @pytest.mark.parametrize(
        "pack", [partial(gzip.compress, mtime=0), partial(bz2.compress, compresslevel=1), lzma.compress, zstd.compress]
    )
    def test_a_damaged_archive_gives_what_is_whole_and_says_where_it_ends(self, write: Write, pack: Callable[[bytes], bytes]) -> None:
        lines = b"".join(json.dumps({"n": number, "square": number**9}).encode() + b"\n" for number in range(8_000))
        packed = pack(lines)
        rows: list[Any] = []
        with pytest.raises(SourceError, match=r"archive is damaged or incomplete: fetch it again\. Line \d+ is the last"):
            rows.extend(read(write("a.jsonl", packed[: len(packed) * 9 // 10]), Reading(needs_text)))
        assert [row.value["n"] for row in rows] == list(range(len(rows)))
        assert len(rows) > 500

    def test_a_small_archive_of_much_is_read_in_constant_memory(self, write: Write) -> None:
        path = write("a.jsonl.gz", gzip.compress((b'{"n": 1}' + b" " * 990 + b"\n") * 10_000, mtime=0))
        tracemalloc.start()
        try:
            assert sum(1 for _ in read(path, Reading(needs_text))) == 10_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2_000_000


class TestParquet:
    def test_rows_are_the_json_objects_that_say_the_same(self, write: Write, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        columns = {"id": [1, 2], "text": ["a", None], "at": [datetime(2020, 5, 1), None], "score": [1.5, float("nan")], "tags": [["x"], []]}  # noqa: DTZ001
        pq.write_table(pa.table(columns), path)
        assert told(path) == [
            ("row 1", {"id": 1, "text": "a", "at": "2020-05-01T00:00:00", "score": 1.5, "tags": ["x"]}),
            ("row 2", {"id": 2, "text": None, "at": None, "score": None, "tags": []}),
        ]

    def test_one_that_is_damaged_or_packed_is_told(self, write: Write) -> None:
        with pytest.raises(SourceError, match="Parquet file is damaged"):
            told(write("a.parquet", b"PAR1" + bytes(40) + b"PAR1"))
        with pytest.raises(SourceError, match="not a pipe and not an archive"):
            told(write("a.parquet.gz", gzip.compress(b"PAR1" + bytes(40), mtime=0)))

    def test_without_the_library_it_says_which_extra_brings_it(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(SourceError, match=r"pip install 'tweetmill\[parquet\]'"):
            told(write("a.parquet", b"PAR1" + bytes(40) + b"PAR1"))


class TestText:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
    def test_a_byte_order_mark_tells_the_encoding(self, write: Write, encoding: str) -> None:
        assert told(write("a.csv", "text\ncafé 🎉\n".encode(encoding))) == [("line 2", {"text": "café 🎉"})]

    @pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis", "gb18030", "utf-16-le", "mac-roman", "utf-7"])
    def test_any_other_can_be_named(self, write: Write, encoding: str) -> None:
        word = "日本" if encoding in ("shift_jis", "gb18030") else "café"
        assert told(write("a.csv", f"text\n{word}\n".encode(encoding)), checked_encoding(encoding)) == [("line 2", {"text": word})]

    def test_latin_1_may_be_windows_1252(self, write: Write) -> None:
        content = b"text\nit\x92s \x93so\x94 caf\xe9 \x85\n"
        assert told(write("a.csv", content), checked_encoding("latin-1")) == [("line 2", {"text": "it’s “so” café …"})]

    @pytest.mark.parametrize(("family", "order"), [("utf-16", "utf-16-be"), ("utf-16", "utf-16-le"), ("utf-32", "utf-32-le")])
    def test_without_a_mark_the_order_of_bytes_is_seen(self, write: Write, family: str, order: str) -> None:
        assert told(write("a.csv", "text\ncafé\n".encode(order)), checked_encoding(family)) == [("line 2", {"text": "café"})]

    @pytest.mark.parametrize("name", ["klingon", "base64", "hex", "rot13", "undefined", "idna", "", "a\0b", "x" * 1000])
    def test_a_name_of_none_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="no text encoding of that name"):
            checked_encoding(name)

    def test_a_mark_that_says_otherwise_is_told(self, write: Write) -> None:
        with pytest.raises(SourceError, match="mark of UTF-16, so it is not iso8859-1: leave --encoding out"):
            told(write("a.csv", "text\nx\n".encode("utf-16")), checked_encoding("latin-1"))

    @pytest.mark.parametrize(("encoding", "says"), [(None, "not valid UTF-8: .* --encoding latin-1"), ("ascii", "not valid ASCII")])
    def test_a_byte_that_is_not_valid_costs_its_row(self, write: Write, encoding: str | None, says: str) -> None:
        (bad, why), fine = told(write("a.csv", b"text\ncaf\xe9\nplain\n"), encoding)
        assert (bad, fine) == ("line 2", ("line 3", {"text": "plain"}))
        assert re.search(says, why)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", '{"text": "a"}\n'),
            ("a.tsv", '[{"text": "a"}]'),
            ("a.json", "n,text\n,a\n"),
            ("a.jsonl", "text\ta\na\t\n"),
            ("a.csv", "[n],text\n,a\n"),
        ],
    )
    def test_a_name_that_the_first_line_gives_the_lie_is_passed_over(self, write: Write, name: str, content: str) -> None:
        ((_, row),) = told(write(name, content))
        assert row["text"] == "a"

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_every_line_end_is_one_and_numbers_are_an_editors(self, write: Write, end: str) -> None:
        assert [place for place, _ in told(write("a.csv", end.join(["text", "a", "", "b", "c"])))] == ["line 2", "line 4", "line 5"]

    def test_line_ends_may_be_mixed(self, write: Write) -> None:
        assert told(write("a.csv", "text\ra\nb\r\nc\u2028d")) == [
            (f"line {n}", {"text": text}) for n, text in ((2, "a"), (3, "b"), (4, "c\u2028d"))
        ]

    @pytest.mark.parametrize("at", [LONGEST_PIECE - 1, LONGEST_PIECE, LONGEST_PIECE + 1])
    def test_an_end_of_two_characters_is_one_wherever_a_read_ends(self, write: Write, at: int) -> None:
        path = write("a.jsonl", '{"n": 1}'.ljust(at - 1) + '\r\n{"n": 2}')
        assert told(path) == [("line 1", {"n": 1}), ("line 2", {"n": 2})]


class TestTables:
    @pytest.mark.parametrize(
        ("table", "cell"),
        [
            ("id,text\n1,a;b\n", "a;b"),
            ("id;text\n1;a,b\n", "a,b"),
            ("id\ttext\n1\ta, b\n", "a, b"),
            ("id|text\n1|a, b\n", "a, b"),
            ('"id";"text"\n"1";"a;b"\n', "a;b"),
            ("sep=;\nid;text\n1;a\n", "a"),
            ("sep=\t\nid\ttext\n1\ta\n", "a"),
            ('"sep=^"\nid^text\n1^a\n', "a"),
            ("ID,Text \n1,a\n", "a"),
            ("id,text,\n1,a,\n", "a"),
            ("id,text,,\n1,a\n", "a"),
            ("id,text\n1,a,,\n", "a"),
            ("\n \nid,text\n\n1,a\n", "a"),
        ],
    )
    def test_what_separates_cells_is_seen_in_the_header(self, write: Write, table: str, cell: str) -> None:
        ((_, row),) = told(write("a.csv", table))
        assert row.get("text", row.get("Text")) == cell

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (
                "1,Late again, third time, never again",
                "the row has 4 cells, the header 2 columns: a cell that holds the separator must stand",
            ),
            ("1", "the row has 1 cell, the header 2 columns"),
            ('1,"she said \\"no\\" to me"', 'written as \\", which CSV does not know'),
            ('1,"left open', "a quote is left open or closed in mid-cell"),
            ('1,"closed" early', "a quote is left open or closed in mid-cell"),
            ("1," + "x" * 120_001, "longer than 120000 characters"),
        ],
    )
    def test_a_row_that_cannot_be_told_apart_costs_itself(self, write: Write, row: str, reason: str) -> None:
        found = told(write("a.csv", f"id,text\n0,before\n{row}\n2,after\n"))
        assert [place for place, _ in found] == ["line 2", "line 3", "line 4"]
        assert reason in found[1][1]
        assert [found[0][1]["text"], found[2][1]["text"]] == ["before", "after"]

    def test_between_tabs_a_quote_may_be_a_character_like_others(self, write: Write) -> None:
        rows = [
            '1\t"He left" she said',
            '2\t"left open',
            "3\tfine",
            '4\t5" pipe',
            '5\t"quoted, whole"',
            '6\t"over\ntwo ""lines"""',
            '7\tshe "said"',
        ]
        found = [row["text"] for _, row in told(write("a.tsv", "\n".join(["id\ttext", *rows])))]
        assert found == ['"He left" she said', '"left open', "fine", '5" pipe', "quoted, whole", 'over\ntwo "lines"', 'she "said"']

    def test_lines_above_the_header_are_told(self, write: Write) -> None:
        with pytest.raises(SourceError, match=r"line 1 names no text. Line 4 does: .*tail -n \+4 FILE"):
            told(write("a.csv", "Report:,Mentions\nFrom:,2023\n\nid,text\n1,a\n"))

    @pytest.mark.parametrize(
        ("header", "shown"),
        [
            (["id", "Hit Sentence", "Date"], "id, Date, and 1 of several words"),
            (["the ferry was late again today", "x"], "what does not look like names"),
            (['{"prompt":"a"}'], "none that look like names"),
            (["https://m.example/@ada/1"], "none that look like names"),
        ],
    )
    def test_columns_are_told_and_rows_are_not(self, header: list[str], shown: str) -> None:
        assert columns_shown(header) == shown

    @pytest.mark.parametrize("closing", ['9,closed"', '"9",he said "yes"', '9,5" pipe', '9,"quoted, properly"', '"9","all"'])
    def test_a_stray_quote_swallows_no_row_even_where_it_closes_again(self, write: Write, closing: str) -> None:
        rows = [f"{number},good row {number}" for number in range(3, 7)]
        found = told(write("a.csv", "\n".join(["id,text", '1,"stray', *rows, closing, "10,last"])))
        good = [said["text"] for _, said in found if isinstance(said, dict)]
        assert [row.partition(",")[2] for row in rows] == good[:4]
        assert good[-1] == "last"
        assert not isinstance(found[0][1], dict)
        assert len(found) == 7

    @pytest.mark.parametrize(
        "cell",
        [
            "one\nline, two",
            "Well, ok\nthen, go\nbye",
            "a\n\nb",
            'said ""no""\nand went',
            "cost 1,000\npaid 2,000\nbye",
            "one,two\nthree",
            "\nlate",
        ],
    )
    def test_a_cell_of_several_lines_is_one_cell(self, write: Write, cell: str) -> None:
        found = told(write("a.csv", f'text,id\n"{cell}",1\nfine,2\n'))
        assert [said["text"] for _, said in found] == [cell.replace('""', '"'), "fine"]
        assert found[1][0] == f"line {cell.count(chr(10)) + 3}"

    def test_a_broken_row_of_several_lines_gives_no_row_of_its_rest(self, write: Write) -> None:
        found = told(write("a.csv", 'text,id\n"one\ntwo",1,surplus\nfine,2\n'))
        assert [place for place, said in found if isinstance(said, dict)] == ["line 4"]

    def test_reading_ahead_in_vain_is_bounded_by_what_is_read(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        import workers.ingest.readers.csv_tables as tables

        taken = 0
        take = tables._Pushback.take

        def counted(self: Any) -> Any:
            nonlocal taken
            taken += 1
            return take(self)

        monkeypatch.setattr(tables._Pushback, "take", counted)
        lines = 10_000
        found = told(write("a.csv", "id,text\n" + 'x","y\n' * lines))
        assert len(found) == lines
        assert taken < 20 * lines + tables._FREE_AHEAD / 6


class TestJson:
    @pytest.mark.parametrize(
        "content",
        [
            '{"n": 1}\n{"n": 2}',
            '\ufeff{"n": 1}\n\n\ufeff{"n": 2}\n',
            '{"n": 1},\n{"n": 2},\n',
            '{"n": 1}{"n": 2}',
            '\x1e{"n": 1}\n\x1e{"n": 2}\n',
            '{\n  "n": 1\n}\n{\n  "n": 2\n}\n',
            '{\n"n": 1\n}, {\r\n"n": 2\r\n}',
        ],
    )
    def test_documents_follow_each_other_in_many_ways(self, write: Write, content: str) -> None:
        assert [said for _, said in told(write("a.json", content))] == [{"n": 1}, {"n": 2}]

    @pytest.mark.parametrize(
        "content",
        [
            '[{"n": 1}, {"n": 2}]',
            '[{"n": 1},\n{"n": 2}]\n',
            '[\n  {\n    "n": 1\n  },\n  {\n    "n": 2\n  }\n]\n',
            'window.YTD.tweets.part0 = [{"n": 1}, {"n": 2}];',
            'Grailbird.data.tweets_2015_01 = \n[{"n": 1},{"n": 2}]',
            'var rows = [{"n": 1}, {"n": 2},];\n',
            '[{"n": 1}]\n[{"n": 2}]',
            'window.YTD.tweets.part0 = [{"n": 1}]\nwindow.YTD.tweets.part1 = [\n{"n": 2}];\n',
            'var rows = [{"n": 1}];var more =\n\n[{"n": 2}]',
        ],
    )
    def test_an_array_is_read_by_its_elements(self, write: Write, content: str) -> None:
        assert told(write("a.js", content)) == [("item 1", {"n": 1}), ("item 2", {"n": 2})]

    def test_several_on_one_line_have_each_a_place(self, write: Write) -> None:
        assert [place for place, _ in told(write("a.json", '{"n": 1}\n{"n": 2}{"n": 3}\n{"n": 4}'))] == [
            "line 1",
            "line 2",
            "line 2 item 2",
            "line 3",
        ]

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            ('{"n": 1, "cut": "off', "not valid JSON"),
            ('{"n": 1,', "not valid JSON"),
            ("{'n': 1}", "double quotes at column 2: it may be what Python prints"),
            ('{"n": 1, // one', "JSON has no comments"),
            ("[" * 100_000, "nesting is too deep"),
            ('{"n": ' + "9" * 5_000 + "}", "a number is too long"),
            ('{"n": 1, "n": 2}', "stands twice with different values"),
            ("# words", "not valid JSON"),
        ],
    )
    def test_a_bad_document_costs_itself_among_lines_and_in_an_array(self, write: Write, bad: str, reason: str) -> None:
        lines = told(write("a.jsonl", f'{{"n": 0}}\n{bad}\n{{"n": 9}}\n'))
        assert [place for place, _ in lines] == ["line 1", "line 2", "line 3"]
        assert reason in lines[1][1]
        assert lines[2][1] == {"n": 9}
        items = told(write("b.json", f'[\n{{"n": 0}},\n{bad},\n{{"n": 9}}\n]\n'))
        assert [place for place, _ in items] == ["item 1", "item 2", "item 3"]
        assert items[2][1] == {"n": 9}

    def test_a_bad_document_over_lines_says_which_are_left_out(self, write: Write) -> None:
        found = told(write("a.json", '{\n "n": 1\n "m": 2\n}\n{\n "n": 3\n}\n'))
        assert found[0][1].endswith("Expecting ',' delimiter at column 2 of line 3, and lines 1 to 4 are left out with it")
        assert found[1] == ("line 5", {"n": 3})

    def test_what_json_has_not_is_none_and_what_stands_twice_alike_is_one(self, write: Write) -> None:
        assert told(write("a.jsonl", '{"a": NaN, "b": -Infinity, "c": 1, "c": 1}')) == [("line 1", {"a": None, "b": None, "c": 1})]

    def test_an_array_on_one_line_is_read_in_constant_memory(self, write: Write) -> None:
        path = write("a.json", "[" + ", ".join(['{"text": "' + "so late " * 20 + '"}'] * 20_000) + "]")
        tracemalloc.start()
        try:
            assert sum(1 for _ in read(path, Reading(needs_text))) == 20_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert path.stat().st_size > 3_000_000
        assert peak < 2_500_000
