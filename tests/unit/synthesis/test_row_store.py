"""What is counted of a dataset before it is stored is what will be found in it afterwards."""

from __future__ import annotations

from collections import Counter

from schemas.payloads import Stage
from workers.synthesis.row_store import RowStore
from workers.synthesis.rows import ExampleRow


def row(tweet: str) -> ExampleRow:
    return ExampleRow(Stage.SUMMARY, tweet, "The bus was late.", "noise", {}, "train", 0)


def test_a_row_that_is_dropped_twice_is_dropped_once() -> None:
    gathered = RowStore()
    for tweet in ("teh bus wz late", "teh bus wz late", "da bus is l8"):
        gathered.drop(row(tweet), ("negation",))
    counts = Counter[str]()
    gathered.distinct(counts)
    gathered.count(counts)

    assert len(gathered.dropped) == 2
    assert (counts["dropped"], counts["dropped_negation"]) == (2, 2)


def test_a_row_that_comes_twice_is_one_row() -> None:
    gathered = RowStore()
    for tweet in ("teh bus wz late", "teh bus wz late", "da bus is l8"):
        gathered.add(row(tweet))
    counts = Counter[str]()
    gathered.distinct(counts)

    assert [kept.prompt_text for kept in gathered.kept()] == ["teh bus wz late", "da bus is l8"]
    assert counts["examples_duplicate"] == 1
