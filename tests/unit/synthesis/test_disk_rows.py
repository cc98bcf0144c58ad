"""Rows that wait on disk: in order, to the letter, and none of them in memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.payloads import Stage
from workers.synthesis.disk_rows import texts_on_disk
from workers.synthesis.rows import DroppedRow, ExampleRow, dropped_on_disk


@given(st.lists(st.text(max_size=20), max_size=30))
def test_what_goes_in_comes_out_from_the_beginning_and_by_its_place(rows: list[str]) -> None:
    rows_on_disk = texts_on_disk()
    rows_on_disk.extend(rows)
    assert list(rows_on_disk) == rows
    assert [rows_on_disk[place] for place in range(len(rows_on_disk))] == rows
    assert rows_on_disk[1:-1] == rows[1:-1]
    with pytest.raises(IndexError):
        rows_on_disk[len(rows)]


def test_rows_can_be_added_after_some_were_read_and_read_twice_at_once() -> None:
    rows_on_disk = texts_on_disk()
    for number in range(3000):
        rows_on_disk.append(f"line\n{number}")
        assert rows_on_disk[number] == f"line\n{number}"
    assert all(one == other for one, other in zip(rows_on_disk, rows_on_disk, strict=True))


def test_a_dropped_row_comes_back_with_all_that_is_known_of_it() -> None:
    rows_on_disk = dropped_on_disk()
    row = ExampleRow(Stage.CLEAN, "so l8 🙄", "So late.", "noise", {"operations": [{"kind": "slang", "at": 1}]}, "train", 7)
    rows_on_disk.append(DroppedRow(row, ("too_short", "language")))
    assert rows_on_disk[0] == rows_on_disk[-1] == DroppedRow(row, ("too_short", "language"))


def test_a_row_takes_a_few_bytes_of_memory_however_long_it_is() -> None:
    rows_on_disk = texts_on_disk()
    tracemalloc.start()
    try:
        rows_on_disk.extend(f"{number} " * 100 for number in range(5000))
        assert tracemalloc.get_traced_memory()[0] / 5000 < 40
    finally:
        tracemalloc.stop()
