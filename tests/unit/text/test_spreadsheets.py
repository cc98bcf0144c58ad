"""Cells that a spreadsheet takes for text."""

from __future__ import annotations

import csv
import io

import pytest

from workers.text.spreadsheets import cell_of, harmless, harmless_id

FORMULAS = (
    "=1+1",
    "+1",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "'=1",
    "''@x",
    "\uff1d1",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("x")',
)
PLAIN = ("", "late again", "1+1=2", "'quoted' words", "a@b", "#tag", "'", "''", "\u2212 a true minus", "12")


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_cell_that_begins_a_formula_is_text(cell):
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", PLAIN)
def test_any_other_cell_stays(cell):
    assert harmless(cell) == cell


@pytest.mark.parametrize("cell", [*FORMULAS, *PLAIN])
def test_a_cell_comes_back_as_it_was(cell):
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow([harmless(cell)])
    assert [cell_of(written) for written in next(csv.reader(io.StringIO(line.getvalue(), newline="")))] == [cell]


@pytest.mark.parametrize(
    ("written", "cell"),
    [('="12"', "12"), ('="said ""no"""', 'said "no"'), ('\'="12"', '="12"'), ('="a"&"b"', '="a"&"b"'), ("=2+2", "=2+2")],
)
def test_a_formula_that_is_nothing_but_a_text_is_that_text(written: str, cell: str) -> None:
    assert cell_of(written) == cell


@pytest.mark.parametrize(
    ("id_", "written"),
    [
        ("1", "1"),
        ("0", "0"),
        ("123456789012345", "123456789012345"),
        ("1234567890123456", "'1234567890123456"),
        ("1290000000000000512", "'1290000000000000512"),
        ("007", "'007"),
        ("1e5", "'1e5"),
        ("2026-01-02", "'2026-01-02"),
        ("at://did:plc:x/3k", "at://did:plc:x/3k"),
        ("=x", "'=x"),
    ],
)
def test_an_id_is_neither_rounded_nor_taken_for_a_date(id_, written):
    assert harmless_id(id_) == written
