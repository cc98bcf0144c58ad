"""Rows that wait on disk: in order, to the letter, and none of them in memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.payloads import Stage
from workers.synthesis.disk_rows import texts
from workers.synthesis.rows import DroppedRow, ExampleRow, dropped_spool


@given(st.lists(st.text(max_size=20), max_size=30))
def test_what_goes_in_comes_out_from_the_beginning_and_by_its_place(rows: list[str]) -> None:
    spool = texts()
    spool.extend(rows)
    assert list(spool) == rows
    assert [spool[place] for place in range(len(spool))] == rows
    assert spool[1:-1] == rows[1:-1]
    with pytest.raises(IndexError):
        spool[len(rows)]


def test_rows_can_be_added_after_some_were_read_and_read_twice_at_once() -> None:
    spool = texts()
    for number in range(3000):
        spool.append(f"line\n{number}")
        assert spool[number] == f"line\n{number}"
    assert all(one == other for one, other in zip(spool, spool, strict=True))


def test_a_dropped_row_comes_back_with_all_that_is_known_of_it() -> None:
    spool = dropped_spool()
    row = ExampleRow(Stage.CLEAN, "so l8 🙄", "So late.", "noise", {"operations": [{"kind": "slang", "at": 1}]}, "train", 7)
    spool.append(DroppedRow(row, ("too_short", "language")))
    assert spool[0] == spool[-1] == DroppedRow(row, ("too_short", "language"))


def test_a_row_takes_a_few_bytes_of_memory_however_long_it_is() -> None:
    spool = texts()
    tracemalloc.start()
    try:
        spool.extend(f"{number} " * 100 for number in range(5000))
        assert tracemalloc.get_traced_memory()[0] / 5000 < 40
    finally:
        tracemalloc.stop()
