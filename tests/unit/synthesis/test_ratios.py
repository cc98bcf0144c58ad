"""Ratios of origins in the training split."""

from __future__ import annotations

from collections import Counter

import pytest

from schemas.payloads import Stage
from schemas.synthesis import Ratios
from workers.errors import UserError
from workers.synthesis.row_store import RowStore
from workers.synthesis.rows import ExampleRow
from workers.synthesis.split.ratios import shares


def rows(origin: str, number: int, split: str = "train") -> list[ExampleRow]:
    return [ExampleRow(Stage.SUMMARY, f"{origin} {split} {n}", "A target.", origin, {}, split, n) for n in range(number)]  # type: ignore[arg-type]


def mixed(examples: list[ExampleRow], ratios: Ratios | None, seed: int = 0) -> list[ExampleRow]:
    gathered = RowStore()
    for row in examples:
        gathered.add(row)
    gathered.distinct(Counter())
    gathered.mix(ratios, seed, Counter())
    return list(gathered.kept())


def kept(*groups: list[ExampleRow], seed: int = 0, **ratios: float) -> list[ExampleRow]:
    return mixed([row for group in groups for row in group], Ratios(**ratios), seed)


def origins(examples: list[ExampleRow]) -> Counter[str]:
    return Counter(example.origin for example in examples if example.split == "train")


def test_the_scarcest_origin_sets_the_scale() -> None:
    assert shares({"human": 10, "noise": 100}, Ratios(human=1, noise=2)) == {"human": 10, "noise": 20}
    assert shares({"human": 90, "noise": 100}, Ratios(human=1, noise=2)) == {"human": 50, "noise": 100}


def test_a_ratio_of_0_leaves_an_origin_out_of_training_and_not_out_of_the_test() -> None:
    found = kept(rows("human", 5), rows("human", 3, "test"), rows("noise", 7), human=0, noise=1)
    assert origins(found) == {"noise": 7}
    assert sum(example.split == "test" for example in found) == 3


def test_an_origin_without_a_ratio_stays_whole() -> None:
    assert origins(kept(rows("human", 2), rows("noise", 9), rows("import", 50), human=1, noise=1)) == {"human": 2, "noise": 2, "import": 50}


def test_the_seed_draws_and_the_order_stays() -> None:
    first, again, other = (kept(rows("human", 2), rows("noise", 50), human=1, noise=5, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(first, key=lambda example: (example.origin, example.cluster))


def test_a_few_rows_more_change_little_of_what_is_drawn() -> None:
    before = kept(rows("human", 20), rows("noise", 200), human=1, noise=5)
    after = kept(rows("human", 20), rows("noise", 204), human=1, noise=5)
    assert origins(after) == origins(before) == {"human": 20, "noise": 100}
    assert sum(row not in before for row in after) <= 4


def test_a_ratio_of_an_origin_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="ratios name teacher"):
        kept(rows("human", 2), human=1, teacher=1)


def test_without_ratios_nothing_is_left_out() -> None:
    examples = rows("human", 2) + rows("noise", 5)
    assert mixed(examples, None) == examples


def test_of_rows_that_are_the_same_the_first_stays() -> None:
    twice = [*rows("noise", 3), ExampleRow(Stage.SUMMARY, "noise train 1", "A target.", "noise", {"copy": 1}, "train", 9)]
    assert mixed(twice, None) == twice[:3]
