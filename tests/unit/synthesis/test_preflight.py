"""What the sources can't give is told at once, and nothing is called impossible that isn't."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.synthesis import SynthesisSpec
from workers.synthesis.preflight import Preflight, Supply

NOISE = {"of": ["clean", "summary"], "copies": 3}
RATIOS = {"human": 1, "noise": 2}


def preflight(supply: Supply, **spec: Any) -> Preflight:
    return Preflight(SynthesisSpec.model_validate({"dataset": "d", "pairs": "p", **spec}), supply)


def keys(supply: Supply, **spec: Any) -> list[str]:
    return [reason.split()[0] for reason in preflight(supply, **spec).unmet()]


def test_a_recipe_of_hundreds_tried_with_a_few_hears_everything_in_one_go() -> None:
    wants = {"noise": NOISE, "ratios": RATIOS, "test_size": 200, "expect": {"min_train": 500, "min_test": 100}}
    reasons = preflight(Supply(pairs=145), **wants).unmet()
    assert [reason.split(":")[0] for reason in reasons] == [
        "test_size asks for 200 pairs to be held back, but only 145 are usable",
        "min_train asks for 500 training examples, the sources can give 345 at most",
        "min_test asks for 100 test examples, of 145 usable pairs 30 at most are held back",
    ]


@pytest.mark.parametrize("pairs", [2, 30, 60, 145, 1156])
def test_what_is_automatic_asks_for_nothing_that_the_sources_lack(pairs: int) -> None:
    wants = {"noise": NOISE, "ratios": RATIOS, "expect": {"min_train": "auto", "min_test": "auto"}}
    assert preflight(Supply(pairs=pairs), **wants).unmet() == []


@pytest.mark.parametrize(("pairs", "train", "test"), [(30, 23, 8), (60, 45, 15), (145, 173, 15), (1156, 1434, 100)])
def test_automatic_expectations_are_half_of_what_there_is_to_be(pairs: int, train: int, test: int) -> None:
    expect = preflight(Supply(pairs=pairs), noise=NOISE, ratios=RATIOS, expect={"min_train": "auto", "min_test": "auto"}).resolved()
    assert expect is not None
    assert (expect.min_train, expect.min_test) == (train, test)


def test_numbers_stay_and_a_recipe_without_expectations_has_none() -> None:
    assert preflight(Supply(pairs=9)).resolved() is None
    numbers = {"min_train": 3, "max_dropped_share": 0.5}
    assert preflight(Supply(pairs=9), expect=numbers).resolved() == SynthesisSpec(dataset="d", pairs="p", expect=numbers).expect


def test_a_test_of_everything_leaves_nothing_to_learn_from() -> None:
    (reason,) = preflight(Supply(pairs=60), noise=NOISE, test_size=60).unmet()
    assert reason.startswith("test_size holds all 60 usable pairs back, so that nothing is left to learn from")
    assert keys(Supply(pairs=60, sentences=1), noise={}, test_size=60) == []
    assert keys(Supply(pairs=60, unpaired=1), teacher={"model": "m"}, test_size=60) == []
    assert keys(Supply(pairs=1)) == [], "one pair is learnt from"


def test_the_ratios_need_their_sources() -> None:
    assert keys(Supply(pairs=50), ratios={"human": 1, "teacher": 1}) == ["ratios"]
    assert keys(Supply(pairs=50, unpaired=1), ratios={"human": 1, "teacher": 1}, teacher={"model": "m"}) == []


def test_ratios_that_leave_fewer_of_people_than_is_asked_are_told() -> None:
    assert keys(Supply(pairs=50), noise=NOISE, ratios=RATIOS, expect={"min_human_share": 0.34}) == ["min_human_share"]
    assert keys(Supply(pairs=50), noise=NOISE, ratios=RATIOS, expect={"min_human_share": 0.33}) == []
    assert keys(Supply(pairs=50), noise=NOISE, ratios={"noise": 2}, expect={"min_human_share": 0.9}) == [], "the rest stays whole"
    imports = {"file": "f", "form": "alpaca", "human": True}
    both = {"noise": NOISE, "imports": imports, "expect": {"min_human_share": 0.5}}
    assert keys(Supply(pairs=50, imports=50), ratios={**RATIOS, "imports": 1}, **both) == []
    assert keys(Supply(pairs=50, imports=50), ratios=RATIOS, **both) == []


def test_peoples_imports_are_held_back_like_pairs() -> None:
    imports = {"file": "f", "form": "alpaca"}
    assert keys(Supply(pairs=10, imports=90), test_size=60, imports={**imports, "human": True}) == []
    assert keys(Supply(pairs=10, imports=90), test_size=60, imports=imports) == ["test_size"]


def test_pairs_without_tweets_are_no_obstacle_as_long_as_there_are_others() -> None:
    some = preflight(Supply(pairs=40, read=60, without_tweet=20))
    assert some.unmet() == []
    assert some.notes() == [
        "the tweets of 20 of 60 pairs are not ingested: `tweetmill ingest FILE` brings the tweets of these tweet_ids in"
    ]
    assert keys(Supply(read=60, without_tweet=60), test_size=9, ratios=RATIOS, expect={"min_train": 9}) == ["pairs:"]


@given(st.integers(0, 400), st.integers(0, 50), st.one_of(st.just("auto"), st.integers(0, 300)), st.integers(1, 900))
def test_it_never_calls_impossible_what_large_clusters_make_possible(pairs: int, sentences: int, size: Any, asked: int) -> None:
    """Clusters may be too large for the test, so that all pairs are learnt from."""
    noise = {"copies": 2}
    reasons = keys(Supply(pairs=pairs, sentences=sentences), noise=noise, test_size=size, expect={"min_train": asked})
    if size == "auto" or size <= pairs:
        assert ("min_train" in reasons) == (asked > pairs * (1 + 2 + 1) + 2 * sentences)
