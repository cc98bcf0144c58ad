"""Whatever a file holds: no traceback, no row that is lost without a word, and damage that costs what is damaged."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from producers.sources import read as read_tweets
from schemas.forms import Form
from schemas.synthesis import Columns
from workers.errors import UserError
from workers.ingest import curated_files, pair_files
from workers.ingest.readers.row import Row
from workers.ingest.readers.rows import Reading, read

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.timeout(3600)

# What people type, and what breaks readers.
TEXTS = st.text(
    st.one_of(
        st.sampled_from("abc ,;\t|'\"\\{}[]:0=\u2028\x85é🏳️‍🌈"), st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n")
    ),
    max_size=25,
)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
NAMES = ("id", "text", "lang")


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", content)
    return packed.getvalue()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
    ".zip": zipped,
}


@pytest.fixture
def file() -> Iterator[Callable[[str, bytes], Path]]:
    with tempfile.TemporaryDirectory() as folder:

        def write(name: str, content: bytes) -> Path:
            path = Path(folder) / name
            path.write_bytes(content)
            return path

        yield write


def any_header(names: object, number: object) -> None:
    """Every table will do."""


def rows_of(path: Path, kind: Any = None) -> list[Row]:
    return list(read(path, Reading(any_header, kind)))


def good(rows: list[Row]) -> list[object]:
    return [row.value for row in rows if row.refused is None]


# Rows that are right among rows that are damaged

DEEP, LONG = b"[" * 2_000, b'{"n": ' + b"9" * 5_000 + b"}"
BAD_JSON = st.sampled_from(
    [
        *(b"{", b'{"id": "9", "text": "cut', b'{"id": "9",', b"no json", b"{'id': 9}", b'{"a": "\xff"}', b'{"a": [1, 2}', DEEP, LONG),
        *(b'{"a": 1, "a": 2}', b'{"a": "tab\t"}', b'"', b'"cut', b"]x", b"{]", b"nul \x00"),
    ]
)
OBJECTS = st.fixed_dictionaries({"id": TEXTS, "text": TEXTS})
WELL_OR_DAMAGED = st.lists(st.one_of(OBJECTS, BAD_JSON), max_size=8)


@pytest.mark.fault(34)
def test_each_bad_line_of_json_costs_itself(explore, measured, file) -> None:
    def check(rows: list[Any], ascii_: bool, end: str) -> None:
        lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=ascii_).encode() for row in [{"first": 1}, *rows]]
        found = rows_of(file("a.jsonl", end.encode().join(lines)))
        assert good(found) == [{"first": 1}, *(row for row in rows if not isinstance(row, bytes))]
        assert len({row.place for row in found}) == len(found)
        # A line that is left open takes those behind it along that are no row themselves.
        told = {row.number for row in found if row.refused is not None}
        begins = {
            at for at in range(2, len(lines) + 1) if isinstance(rows[at - 2], bytes) and (at == 2 or not isinstance(rows[at - 3], bytes))
        }
        assert begins <= told <= {at for at in range(2, len(lines) + 1) if isinstance(rows[at - 2], bytes)}

    measured(examples=explore(check, rows=WELL_OR_DAMAGED, ascii_=st.booleans(), end=LINE_ENDS), lost=0)


BAD_ELEMENTS = st.sampled_from(
    [b"{nonsense}", b"nonsense", b'{"a": [1, {}], x}', b'{"a": "\xff"}', b'{"a": 1, "a": 2}', b"{'a': [1]}", b"{]}"]
)


@pytest.mark.fault(34)
def test_each_bad_element_of_an_array_costs_itself(explore, measured, file) -> None:
    def check(rows: list[Any], indent: int | None, between: str) -> None:
        elements = [row if isinstance(row, bytes) else json.dumps(row, indent=indent).encode() for row in rows]
        found = rows_of(file("a.json", b"[" + between.encode().join(elements) + b"]"))
        assert good(found) == [row for row in rows if not isinstance(row, bytes)]
        assert [row.place for row in found] == [f"item {number}" for number in range(1, len(rows) + 1)]

    rows = st.lists(st.one_of(OBJECTS, BAD_ELEMENTS), max_size=8)
    measured(examples=explore(check, rows=rows, indent=st.sampled_from([None, 0, 2]), between=st.sampled_from([",", ", ", ",\n"])), lost=0)


@pytest.mark.fault(34)
def test_documents_over_many_lines_are_read_one_after_the_other(explore, measured, file) -> None:
    def check(rows: list[Any], indent: int, between: str) -> None:
        content = between.join(json.dumps(row, indent=indent) for row in rows)
        assert good(rows_of(file("a.json", content.encode()))) == rows

    nested = st.recursive(
        OBJECTS, lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(inner, st.lists(inner, max_size=2))), max_leaves=5
    )
    between = st.sampled_from(["\n", "\n\n", ",\n", "\n\x1e", " "])
    measured(examples=explore(check, rows=st.lists(nested, max_size=6), indent=st.sampled_from([0, 1, 4]), between=between), lost=0)


BAD_ROWS = st.sampled_from(
    [
        *(b'"open quote', b'9,"open quote', b'"open,9,en', b'9,"closed" early,en', b'9,"esc \\"aped\\" here",en'),
        *(b"9", b"9,a,b,c,d", b"9,\xff,en", b"9,'"),
    ]
)


PLAIN_ROWS = (b'"open,9,en', b'9,"closed" early,en')


@pytest.mark.fault(34)
def test_each_bad_row_of_a_table_costs_itself(explore, measured, file) -> None:
    def check(rows: list[Any], delimiter: str, quoting: Any, end: str) -> None:
        lines = [
            row.replace(b",", delimiter.encode()) if isinstance(row, bytes) else written(row, delimiter, quoting) for row in [NAMES, *rows]
        ]
        found = rows_of(file("a.csv", b"".join(line + end.encode() for line in lines)), "table")
        whole = [dict(zip(NAMES, row, strict=True)) for row in rows if not isinstance(row, bytes)]
        # Between tabs, quotes that are not those of CSV are characters, and such rows are good.
        plain = [row.decode().split(",") for row in rows if isinstance(row, bytes) and row in PLAIN_ROWS] if delimiter == "\t" else []
        assert [row for row in good(found) if row["id"] not in ("9", '"open')] == whole
        assert [list(row.values()) for row in good(found) if row["id"] in ("9", '"open')] == plain
        assert len(found) == len(rows)

    # Each row holds a letter, so that it is none of the blank lines; a quoted line end needs a test of its own.
    words = st.text(st.sampled_from("abé ,;\"\t|'\\"), max_size=12)
    row = st.tuples(words.map(lambda word: f"a{word}"), words, words.map(lambda word: f"{word}z"))
    quoting = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    rows = st.lists(st.one_of(row, BAD_ROWS), max_size=8)
    measured(examples=explore(check, rows=rows, delimiter=st.sampled_from(",;\t|"), quoting=quoting, end=LINE_ENDS), lost=0)


def written(row: Any, delimiter: str, quoting: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="").writerow(row)
    return out.getvalue().encode()


@pytest.mark.fault(34)
def test_a_table_that_a_writer_wrote_is_read_back_with_its_line_ends(explore, measured, file) -> None:
    def check(rows: list[tuple[str, str]], delimiter: str, encoding: str) -> None:
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter).writerows([("one", "two"), *rows])
        found = rows_of(file("a.csv", out.getvalue().encode(encoding)), "table")
        assert [tuple(value.values()) for value in good(found)] == rows
        assert len(found) == len(rows)

    cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15).filter(str.strip)
    encoding = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"])
    rows = st.lists(st.tuples(cells, cells), max_size=5)
    measured(examples=explore(check, rows=rows, delimiter=st.sampled_from(",;\t|"), encoding=encoding), lost=0)


# Archives, and bytes without sense


@pytest.mark.fault(34)
def test_an_archive_holds_what_went_into_it_or_is_told_to_be_damaged(explore, measured, file) -> None:
    def check(rows: list[Any], packing: str, cut: int) -> None:
        content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        packed = PACKINGS[packing](content)
        plain = rows_of(file("a.jsonl", content))
        assert rows_of(file(f"b.jsonl{packing}", packed), "json") == plain
        if not packing or not content or len(packed) - cut < 20:
            return
        seen: list[Row] = []
        told = "nothing"
        try:
            seen.extend(read(file(f"c.jsonl{packing}", packed[: -cut - 1]), Reading(any_header, "json")))
        except UserError as error:
            told = str(error)
        assert "damaged" in told
        assert seen == plain[: len(seen)]

    measured(
        examples=explore(check, rows=st.lists(OBJECTS, max_size=5), packing=st.sampled_from([*PACKINGS]), cut=st.integers(0, 40)), lost=0
    )


ARCHIVES = (
    b"\x1f\x8b",
    b"BZh91AY&SY",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PAR1",
    b"SQLite format 3\0",
    b"%PDF-",
)
MARKS = (b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xff\xfe\0\0")
HEADS = (b"<rss>", b"[", b"{", b"window.x = [", b"id,text\n", b"prompt,completion\n", b"sep=;\n", b"\x1e{")
MAGIC = st.sampled_from([*ARCHIVES, *MARKS, *HEADS])
PIECES = [
    b'"',
    b"\n",
    b"\r\n",
    b"\r",
    b",",
    b";",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\\",
    b"\0",
    b'{"id": "1", "text": "x"}',
    b"1,x",
    b'"a","b"',
    b"\xc3",
]
BYTES = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), max_size=30).map(b"".join)
ENDINGS = st.sampled_from(["", ".json", ".jsonl", ".csv", ".tsv", ".js", ".txt", ".parquet", ".jsonl.gz", ".csv.zip", ".zst"])


@pytest.mark.fault(34)
def test_no_bytes_stop_a_reader_of_tweets_or_pairs_with_a_traceback(explore, measured, file) -> None:
    def check(magic: bytes, content: bytes, ending: str) -> None:
        path = file(f"a{ending}", magic + content)
        readers: list[Iterator[Any]] = [
            read_tweets(path),
            *(curated_files.read(path, kind) for kind in ("pairs", "references", "sentences")),
        ]
        readers += [pair_files.read(path, form, Columns()) for form in (Form.CSV, Form.ALPACA)]
        told: set[str] = set()
        for reader in readers:
            last = 0
            try:
                for row in reader:
                    assert row.number >= last
                    last = row.number
            except UserError as error:
                told.add(str(error))
        assert "" not in told

    measured(examples=explore(check, magic=MAGIC, content=BYTES, ending=ENDINGS), lost=0)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("a.jsonl", b'{"id": "0", "text": "first"}', b'{"id": "1", "text": "last"}'), ("a.csv", b"id,text\n0,first", b"1,last")],
)
@pytest.mark.fault(34)
def test_no_bytes_take_the_rows_before_and_behind_them_along(explore, measured, file, name: str, first: bytes, last: bytes) -> None:
    def check(content: bytes) -> None:
        lines = list(read_tweets(file(name, first + b"\n" + content + b"\n" + last)))
        kept = [line.tweet.text for line in lines if line.tweet]
        assert (kept[0], kept[-1]) == ("first", "last")
        said = content.decode(errors="replace").translate(dict.fromkeys(map(ord, ",\x1e\ufeff")))
        assert len(lines) > 2 or not said.strip()

    measured(examples=explore(check, content=BYTES), lost=0)
