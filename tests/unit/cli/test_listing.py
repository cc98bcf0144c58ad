"""Lists: one line a row on any terminal, what matters least leaves first."""

from __future__ import annotations

import io

import pytest

from producers.cli.render.listing import Column, Listing
from producers.cli.render.screen import Screen

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
