"""The stop rule: looked at after each block, it stops an equal model in at most 5% of runs and a worse one within a few blocks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from statistics import median

import numpy as np
import pytest

from workers.canary.comparison import ALPHA, GROUP_ROWS, Arm, Block, Verdict, compare, grouped
from workers.canary.sequential import bounds, evidence, evidence_of_share

RUNS = 120


def blocks(candidate: float, incumbent: float, rows: int, spread: float, shards: int, seed: int) -> Iterator[Block]:
    """Blocks of one shard of the candidate and `shards` of the model in service.

    Each shard has a faulty rate of its own, from a beta distribution with these means: `spread` is the correlation of two of its rows.
    """
    rng = np.random.default_rng(seed)

    def faulty(mean: float, count: int) -> int:
        rates = rng.beta(mean * (1 / spread - 1), (1 - mean) * (1 / spread - 1), count) if spread else np.full(count, mean)
        return int(rng.binomial(rows, rates).sum())

    while True:
        theirs = Arm(rows=rows * shards, faulty=faulty(incumbent, shards))
        yield Block(Arm(rows=rows, faulty=faulty(candidate, 1)), theirs)


def run(candidate: float, incumbent: float, rows: int, spread: float, most: int, seed: int, shards: int = 9) -> tuple[Verdict, int]:
    """Look after each block until there is a verdict; return it and how many blocks that took."""
    seen: list[Block] = []
    for number, block in enumerate(blocks(candidate, incumbent, rows, spread, shards, seed), 1):
        seen.append(block)
        found = compare(seen).verdict
        if found != "undecided" or number == most:
            return found, number
    raise AssertionError


@pytest.mark.parametrize(
    ("rate", "rows", "spread", "shards"), [(0.05, 256, 0.02, 9), (0.01, 64, 0.0, 9), (0.3, 64, 0.1, 1), (0.5, 32, 0.3, 3)]
)
def test_an_equal_model_is_stopped_in_at_most_5_percent_of_runs(rate: float, rows: int, spread: float, shards: int) -> None:
    ends = Counter(run(rate, rate, rows, spread, 30, seed, shards)[0] for seed in range(RUNS))
    assert ends["worse"] <= ALPHA * RUNS


def test_looking_at_a_fixed_interval_again_and_again_would_stop_many_more() -> None:
    """What the rule is needed for, and that the simulation could notice a rule that is too quick."""

    def stopped(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        values = rng.normal(size=100)
        counts = np.arange(3, 101)
        return any(values[:count].mean() > 1.96 * values[:count].std(ddof=1) / math.sqrt(count) for count in counts)

    assert np.mean([stopped(seed) for seed in range(RUNS)]) > 2 * ALPHA


@pytest.mark.parametrize(("worse", "within"), [(0.10, 12), (0.15, 14), (0.30, 10)])
def test_a_worse_model_is_stopped_within_a_few_blocks(worse: float, within: int) -> None:
    ends = [run(worse, 0.05, 256, 0.01, 40, seed) for seed in range(50)]
    assert {verdict for verdict, _ in ends} == {"worse"}
    assert median(number for _, number in ends) <= within


def test_a_better_model_and_an_equal_one_are_ready_in_time() -> None:
    for rate in (0.02, 0.05):
        ends = [run(rate, 0.05, 256, 0.01, 60, seed) for seed in range(50)]
        assert Counter(verdict for verdict, _ in ends)["ready"] >= 47
        assert min(number for _, number in ends) >= 5


@pytest.mark.parametrize("count", [2, 5, 20, 200])
def test_bounds_hold_what_there_is_less_evidence_against(count: int) -> None:
    values = np.random.default_rng(count).normal(0.3, 1.0, count).tolist()
    low, high = bounds(values, 0.05)
    if math.isinf(high):
        assert all(evidence([value - mean for value in values]) < 20 for mean in (-1e6, 1e6))
        return
    for edge, inside in ((low, 1), (high, -1)):
        assert evidence([value - edge for value in values]) == pytest.approx(20, rel=1e-6)
        assert evidence([value - edge - inside * 1e-3 for value in values]) < 20


def test_bounds_hold_the_mean_at_every_look() -> None:
    def always(seed: int) -> bool:
        values = np.random.default_rng(seed).normal(0.0, 1.0, 60).tolist()
        return all(bounds(values[:count], 0.05)[0] <= 0 <= bounds(values[:count], 0.05)[1] for count in range(2, 61))

    assert np.mean([always(seed) for seed in range(RUNS)]) >= 0.95


def test_few_values_that_are_equal_by_chance_prove_nothing() -> None:
    assert evidence([0.25] * 3) == evidence([1e9] * 3) == pytest.approx(4), "so few can't prove anything, whatever they are"
    assert evidence([0.25] * 9) > 1000
    assert evidence([0.25] * 9, least_variance=0.1) < 40
    assert evidence([0.0] * 9) == evidence([0.5]) == 1.0


def test_no_run_is_too_long_to_be_looked_at() -> None:
    values = np.random.default_rng(0).normal(5.0, 1.0, 5000).tolist()
    low, high = bounds(values, 0.05)
    assert 4.8 < low < high < 5.2
    assert evidence(values) == evidence([1.0] * 5000) == evidence_of_share(5000, 0, 0.1) == math.inf


def test_small_shards_are_put_together_and_one_sided_blocks_are_left_out() -> None:
    seven = Block(Arm(rows=7, faulty=1), Arm(rows=63, faulty=2))
    groups = grouped([seven, Block(Arm(rows=7), Arm()), Block(Arm(), Arm(rows=63))] * 25)
    assert [group.candidate.rows for group in groups] == [70, 70]
    assert (GROUP_ROWS, groups[0].candidate.faulty, groups[0].incumbent.rows) == (64, 10, 630)


def test_a_candidate_whose_shards_fail_is_worse_and_one_that_shares_the_failures_is_not() -> None:
    assert compare([], (3, 0), share=10).verdict == "worse"
    assert compare([], (2, 0), share=10).verdict == "undecided"
    assert compare([], (3, 27), share=10).verdict == "undecided"
    assert "3 of its shards failed" in compare([], (3, 0), share=10).says


def test_failures_that_hit_either_alike_stop_it_by_chance_alone() -> None:
    def stopped(seed: int, share: float) -> bool:
        hits = np.cumsum(np.random.default_rng(seed).random(60) < share)
        return any(evidence_of_share(int(found), number - int(found), share) >= 2 / ALPHA for number, found in enumerate(hits, 1))

    for share in (0.1, 0.5):
        assert np.mean([stopped(seed, share) for seed in range(RUNS)]) <= ALPHA / 2 + 0.01


def test_the_sentence_tells_both_rates_and_on_how_much_it_rests() -> None:
    stream = blocks(0.4, 0.05, 256, 0.0, 9, seed=1)
    found = compare([next(stream) for _ in range(8)])
    assert found.says.startswith("worse: ")
    assert "of the model in service (2,048 tweets in 8 groups of shards)" in found.says
    assert found.figures["faulty"].low is not None
    assert found.figures["faulty"].low > 0
    assert found.figures["words"].candidate == 0
