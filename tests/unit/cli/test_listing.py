"""Lists: one line a row on any terminal, what matters least leaves first."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len

from producers.render.listing import Column, Listing
from producers.render.screen import Screen

COLUMNS = (Column("job"), Column("kind", 3), Column("created", 1), Column("took", 2), Column("progress", least=40))
ROWS = [
    ("3f2a9c10", "summarize", "2026-11-25 20:00", "2 h 5 min", "14/241 · loss 0.92 · 57 tok/s · 1 h 6 m"),
    ("99aa0011", "train", "2026-11-25 20:00", "", "two\nlines\x1b[2J of [bold]an error[/bold] that is long " * 5),
]


def drawn(width: int) -> list[str]:
    out = io.StringIO()
    Screen(file=out, width=width).print(Listing(COLUMNS, ROWS))
    return out.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140, 400])
def test_each_row_is_one_line_that_fits(width):
    lines = drawn(width)
    assert len(lines) == 1 + len(ROWS)
    assert max(map(len, lines)) <= width


def test_columns_leave_by_their_weight():
    assert drawn(140)[0].split() == ["job", "kind", "created", "took", "progress"]
    assert drawn(85)[0].split() == ["job", "kind", "took", "progress"]
    assert drawn(65)[0].split() == ["job", "kind", "progress"]
    assert drawn(52)[0].split() == ["job", "progress"]


def test_the_telling_part_comes_first_and_the_rest_is_cut():
    assert "14/241 · loss 0.92 · 57 tok/s · 1 h 6 m" in drawn(80)[1]
    assert drawn(80)[2].rstrip().endswith("…")
    assert r"two\nlines\x1b[2J of [bold]an" in drawn(140)[2]


def test_a_pipe_gets_every_row_whole():
    listing = Listing(COLUMNS, ROWS)
    out = io.StringIO()
    Screen(file=out, width=listing.natural_width).print(listing)
    assert out.getvalue().count("that is long") == 5
    assert "…" not in out.getvalue()


PATHS = (Column("file", 1, least=12, tail=True), Column("row"), Column("reason", least=16, in_full=True))
REASON = "the text is missing: the keys are id, and where there are ids alone their texts must be fetched first"


def printed(columns, rows, width):
    out = io.StringIO()
    Screen(file=out, width=width).print(Listing(columns, rows))
    return [line.rstrip() for line in out.getvalue().rstrip("\n").split("\n")]


def test_a_path_keeps_its_end():
    row = printed(PATHS, [("/a/long/path/to/the/archive/of/tweets.jsonl", "1", "short")], 40)[1]
    assert row.startswith("…")
    assert row.split()[0].endswith("/tweets.jsonl")


def test_a_reason_that_was_cut_stands_once_below_and_one_that_fits_does_not():
    lines = printed(PATHS, [("a", "1", REASON), ("b", "2", REASON), ("c", "3", "short")], 60)
    assert [line.split()[:2] for line in lines[1:4]] == [["a", "1"], ["b", "2"], ["c", "3"]]
    assert lines[4] == ""
    assert " ".join(lines[5:]) == REASON
    assert len(printed(PATHS, [("a", "1", REASON)], 140)) == 2


def test_a_text_below_is_labelled_by_its_row_where_its_column_was_left_out():
    columns = (Column("reason"), Column("meaning", 1, in_full=True, labelled=True))
    lines = printed(columns, [("new_name", REASON), ("language", "another language")], 50)
    assert lines[:3] == ["reason", "new_name", "language"]
    assert " ".join(lines[4:]) == f"new_name: {REASON} language: another language"


def test_a_wide_character_takes_two_cells():
    columns = (Column("name", least=10), Column("n", right=True))
    for width in (12, 20, 40, 80):
        lines = printed(columns, [("要約データセット" * 4, "1"), ("demo", "1,071")], width)
        assert max(map(cell_len, lines)) <= max(width, 4 + 2 + 5)
        assert len(lines) == 3
        assert cell_len(lines[1]) == cell_len(lines[2]), "the numbers stand below each other"


def test_columns_that_may_be_cut_share_the_room_and_get_no_more_than_they_need():
    columns = (Column("one", least=4), Column("other", least=4), Column("short", least=4))
    listing = Listing(columns, [("a" * 60, "b" * 60, "c" * 6)])
    assert list(listing.widths([0, 1, 2], 50).values()) == [20, 20, 6]
    assert list(listing.widths([0, 1, 2], 200).values()) == [60, 60, 6]
