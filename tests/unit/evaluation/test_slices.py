"""Which tweets belong to a slice, and what is told of one."""

from __future__ import annotations

import numpy as np
import pytest

from workers.evaluation.margins import paired
from workers.evaluation.slices import SLICES, SMALLEST, masks, table, worst
from workers.evaluation.systems import HeldBackRow


@pytest.mark.parametrize(
    ("tweet", "slices"),
    [
        ("the ferry is late", set()),
        (" ".join(["rain"] * 20), set()),
        (" ".join(["rain"] * 21), {"long"}),
        ("bus 42 is late", {"numbers"}),
        ("@bus42 late again https://t.co/42", set()),
        ("late again #fail", {"hashtags"}),
        ("u r late lol", {"slang"}),
        ("u are late", set()),
        ("is it late??", {"questions"}),
        ("https://example.org/?q=1 is late", set()),
        ("it isn't late", {"negation"}),
        ("no one came", {"negation"}),
        ("she said \u201cgo home\u201d", {"quotes"}),
        ('a 6" nail', {"numbers"}),
    ],
)
def test_a_tweet_lies_in_every_slice_that_it_belongs_to(tweet: str, slices: set[str]) -> None:
    assert {name for name, belongs in SLICES.items() if belongs(tweet)} == slices


def rows(count: int, **fields: str) -> list[HeldBackRow]:
    return [HeldBackRow(str(number), f"bus {number} is late", ("The bus is late.",), **fields) for number in range(count)]


def test_sources_are_slices_where_there_are_several() -> None:
    assert set(masks(rows(3, source="harbour"))) == {"numbers"}
    both = [*rows(3, source="harbour"), *rows(2, source="station"), *rows(1)]
    assert {name: int(mask.sum()) for name, mask in masks(both).items()} == {"numbers": 6, "source harbour": 3, "source station": 2}


def test_a_slice_has_figures_from_ten_rows_on_and_its_count_in_any_case() -> None:
    many = [*rows(SMALLEST), HeldBackRow("q", "is it late?", ("Is it late?",))]
    scores = {name: {"sari": np.linspace(low, low + 10, len(many))} for name, low in (("tuned", 50.0), ("lead", 40.0))}
    found = table(many, scores, 200, 0, against="tuned")
    assert found["questions"] == {"n": 1}
    assert found["numbers"]["n"] == SMALLEST
    assert found["numbers"]["sari"]["lead"]["n"] == SMALLEST
    assert found["numbers"]["margins"]["lead"]["value"] == pytest.approx(10)
    assert "margins" not in table(many, scores, 200, 0)["numbers"]


def test_the_worst_rows_come_worst_first_and_equal_ones_in_their_order() -> None:
    scores = {"sari": np.array([5.0, 1.0, 5.0, 0.5, 9.0, 9.0, 1.0])}
    assert [row["id"] for row in worst(rows(7), scores)] == ["3", "1", "6", "0", "2"]


def test_the_interval_for_all_pairs_holds_that_of_each_alone_and_grows_with_their_number() -> None:
    chance = np.random.default_rng(0)
    scores = {name: {"sari": chance.normal(level, 5, 100)} for name, level in (("a", 50), ("b", 51), ("c", 52), ("d", 53))}
    one = paired(scores, [("a", "b")], "sari", 2000, 0)["a", "b"]
    several = paired(scores, [("a", "b"), ("a", "c"), ("a", "d")], "sari", 2000, 0)["a", "b"]
    assert (one["all_low"], one["all_high"]) == (one["low"], one["high"])
    assert (several["low"], several["high"]) == (one["low"], one["high"])
    assert several["all_low"] < several["low"] < several["difference"] < several["high"] < several["all_high"]


def test_equal_systems_are_told_apart_by_chance_in_one_of_twenty_pairs_but_rarely_with_all_counted() -> None:
    chance = np.random.default_rng(1)
    alone = together = 0
    for _ in range(40):
        scores = {name: {"sari": chance.normal(50, 5, 60)} for name in "abcdef"}
        pairs = [("a", other) for other in "bcdef"]
        found = paired(scores, pairs, "sari", 1000, 0).values()
        alone += any(not each["low"] <= 0 <= each["high"] for each in found)
        together += any(not each["all_low"] <= 0 <= each["all_high"] for each in found)
    assert together < alone
    assert together <= 6
