"""Expectations: each names what was asked, what is there, and what to do."""

from __future__ import annotations

import pytest

from schemas.synthesis import Expectations
from workers.synthesis.expectations import Statistics, unmet

STATISTICS = Statistics(
    train=1000, test=100, human=250, commonest_target=40, judged=1200, dropped=180, read=2000, refused=100, usd=1.5,
    reasons={"new_word": 150, "language": 40},
)  # fmt: skip


def test_nothing_expected_is_met() -> None:
    assert unmet(None, STATISTICS) == unmet(Expectations(), STATISTICS) == []


@pytest.mark.parametrize(
    ("key", "just_met", "missed", "told"),
    [
        ("min_train", 1000, 1001, "1,001 training examples, there are 1,000: add pairs"),
        ("min_test", 100, 101, "101 test examples, there are 100: raise test_size"),
        ("min_human_share", 0.25, 0.251, r"25.1 % of people, there are 25 % (250 of 1,000): add pairs"),
        (
            "max_dropped_share",
            0.15,
            0.149,
            r"14.9 %, dropped were 15 % (180 of 1,200: new_word 150, language 40): `tweetmill dataset dropped d`",
        ),
        ("max_rejected_share", 0.05, 0.049, "4.9 %, refused were 5 % (100 of 2,000): `tweetmill rejected --origin d`"),
        ("max_same_target_share", 0.04, 0.039, "3.9 % with one target, there are 4 % (40 of 1,000): look for a canned answer"),
        ("max_usd", 1.5, 1.49, "1.49 dollars, the teacher has cost 1.50: lower teacher.limit"),
    ],
)
def test_each_says_the_threshold_the_figure_and_what_to_do(key: str, just_met: float, missed: float, told: str) -> None:
    assert unmet(Expectations.model_validate({key: just_met}), STATISTICS) == []
    (said,) = unmet(Expectations.model_validate({key: missed}), STATISTICS, "d")
    assert said.startswith(key)
    assert told in said


def test_all_that_is_unmet_is_told_at_once() -> None:
    said = unmet(Expectations(min_train=2000, min_test=2000, max_usd=0), STATISTICS)
    assert [each.split()[0] for each in said] == ["min_train", "min_test", "max_usd"]


def test_an_empty_dataset_has_no_shares() -> None:
    nothing = Statistics(train=0, test=0)
    assert unmet(Expectations(max_dropped_share=0, max_rejected_share=0, max_same_target_share=0, max_usd=0), nothing) == []
    assert len(unmet(Expectations(min_train=1, min_human_share=0.1), nothing)) == 2


def test_one_pair_and_its_noise_are_no_canned_answer():
    small = Statistics(train=45, test=15, commonest_target=5, rows_of_one=5)
    assert unmet(Expectations(max_same_target_share=0.05), small) == []
    assert unmet(Expectations(max_same_target_share=0.05), Statistics(train=45, test=15, commonest_target=6, rows_of_one=5))
