"""docs/faults.md names what covers each fault, and keeps what was measured."""

from __future__ import annotations

import json
import re

import pytest

from tests import faults
from tests.faults import FAULTS, PAGE, ROOT, Covering, covered_rows, figures_of, figures_on, render, table


def test_the_page_has_all_rows_in_order():
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)]
    assert rows == sorted(rows)
    assert sorted(set(rows)) == list(range(1, 43)) == [fault.number for fault in FAULTS]


def test_every_row_is_covered_by_a_test():
    assert sorted(set(range(1, 43)) - set(covered_rows())) == []


def test_every_test_with_a_row_is_on_the_page():
    marked = {(row, test) for row, tests in covered_rows().items() for test in tests}
    assert marked == set(figures_on(PAGE.read_text())), "run `python -m tests.faults`"


@pytest.mark.parametrize("test", sorted({test for _, test in figures_on(PAGE.read_text())}), ids=lambda test: test.name)
def test_every_test_on_the_page_exists(test: Covering):
    assert f"def {test.name}(" in (ROOT / test.file).read_text()


def test_the_page_is_as_the_renderer_leaves_it():
    page = PAGE.read_text()
    assert render(page, {}) == page, "run `python -m tests.faults`"


# The renderer


def entry(name: str, **figures: float) -> str:
    return json.dumps({"rows": [1], "test": f"tests/acceptance/test_x.py::{name}", "figures": figures, "thorough": "[" not in name})


def test_the_last_figures_of_a_test_count_and_units_are_told():
    told = figures_of(iter([entry("test_a", lost=1), entry("test_a", lost=0, recovered_seconds=4.2, producer_mb=9)]))
    assert told == {(1, Covering("tests/acceptance/test_x.py", "test_a")): "lost 0, recovered 4.2 s, producer 9 MB"}


def test_a_test_with_parameters_has_figures_for_each_and_a_short_run_says_so():
    told = figures_of(iter([entry("test_a[1]", lost=0), entry("test_a[2]", lost=0)]))
    assert list(told.values()) == ["lost 0 (short run); lost 0 (short run)"]


def test_figures_of_a_test_that_did_not_run_again_stay(monkeypatch):
    one, other = Covering("tests/x.py", "test_one"), Covering("tests/x.py", "test_the_other")
    monkeypatch.setattr(faults, "covered_rows", lambda: {1: [one, other]})
    page = faults.BEGIN + table({(1, one): "lost 0", (1, other): "lost 0"}) + faults.END
    again = figures_on(render(page, {(1, other): "lost 1"}))
    assert again == {(1, one): "lost 0", (1, other): "lost 1"}


def test_a_parameter_may_cover_a_row_of_its_own():
    ranks = Covering("tests/acceptance/test_training_ranks.py", "test_the_group_falls_with_any_one_of_it")
    assert all(ranks in covered_rows()[row] for row in (3, 4, 5))


def test_a_row_without_a_test_is_not_passed_over(monkeypatch):
    monkeypatch.setattr(faults, "covered_rows", dict)
    assert table({}).count("none yet") == 42
