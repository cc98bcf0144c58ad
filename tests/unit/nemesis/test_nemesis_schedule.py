"""The schedule of a storm: the same seed gives the same faults, every kind has its turn, and no server is hurt twice at once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.nemesis import faults
from tests.nemesis.schedule import OVERLAP, SHARED, Strike, as_lines, plan

faults.load_all()
KINDS = faults.KINDS
TEN_MINUTES = 600.0

seeded = pytest.mark.parametrize("seed", [1, 2, 3, 17])


@seeded
def test_the_same_seed_gives_the_same_schedule(seed: int):
    assert plan(seed, TEN_MINUTES, KINDS) == plan(seed, TEN_MINUTES, dict(reversed(KINDS.items())))


def test_another_seed_gives_another():
    assert plan(1, TEN_MINUTES, KINDS) != plan(2, TEN_MINUTES, KINDS)


@seeded
def test_ten_minutes_bring_every_kind_at_least_twice_and_none_much_more_often(seed: int):
    counts = Counter(strike.kind for strike in plan(seed, TEN_MINUTES, KINDS))
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 2
    assert max(counts.values()) - min(counts.values()) <= 1


@seeded
def test_all_is_healed_by_the_end_and_times_are_in_order(seed: int):
    strikes = plan(seed, TEN_MINUTES, KINDS)
    assert all(first.at <= second.at for first, second in pairwise(strikes))
    assert max(strike.ends for strike in strikes) <= TEN_MINUTES
    for strike in strikes:
        shortest, longest = KINDS[strike.kind].lasts
        assert shortest <= strike.lasts <= longest


@seeded
def test_no_more_than_two_faults_at_once_and_never_two_of_the_same_server(seed: int):
    strikes = plan(seed, TEN_MINUTES, KINDS)
    for strike in strikes:
        others = [other for other in strikes if other is not strike and other.at <= strike.at < other.ends]
        assert len(others) < OVERLAP
        touched = [KINDS[one.kind].touches for one in (strike, *others) if KINDS[one.kind].touches not in SHARED]
        assert len(touched) == len(set(touched))


def test_only_the_kinds_that_are_asked_for_strike():
    chosen = {name: KINDS[name] for name in ("kill_worker", "kill_redis")}
    assert {strike.kind for strike in plan(5, 120.0, chosen)} == set(chosen)


def test_a_storm_too_short_for_a_fault_has_none():
    assert plan(1, 1.0, KINDS) == []


def test_the_plan_can_be_read():
    lines = as_lines([Strike(at=3.5, kind="pause_redis", lasts=4.0, draw=1), Strike(at=9.0, kind="kill_rank", lasts=0.0, draw=2)])
    assert [line.split() for line in lines] == [["3.50", "s", "pause_redis", "for", "4.0", "s"], ["9.00", "s", "kill_rank"]]


def test_every_fault_says_what_it_does():
    assert set(faults.INJECT) == set(KINDS)
    assert all(inject.__doc__ for inject in faults.INJECT.values())
