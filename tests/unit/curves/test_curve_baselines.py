"""Whether training pays: the largest size's models against whatever a comparison of the curve names beside them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from producers.curve.baselines import held_against, without_training
from producers.curve.costs import Costs
from producers.curve.report import fitted
from producers.curve.worth import Worth
from producers.render.curve import baseline_words, verdict_words
from schemas.states import JobState
from workers.catalog.curves import PointStatus
from workers.curves.points import Point, grouped


def figure(value: float, half: float = 2.0) -> dict[str, Any]:
    return {"sari": {"value": value, "low": value - half, "high": value + half, "n": 100}}


def point(size: int, score: float, seed: int = 0, half: float = 1.0, **baselines: float) -> PointStatus:
    """A scored point, each baseline of which it is paired with on the same rows."""
    name = f"m-{size}-{seed}"
    pairs = [
        {"a": name, "b": each, "metric": "sari", "difference": score - value, "low": score - value - half, "high": score - value + half}
        for each, value in baselines.items()
    ]
    systems = {name: figure(score), **{each: figure(value) for each, value in baselines.items()}}
    return PointStatus({"pairs": size}, uuid4(), JobState.DONE, 1.0, 1, 1, JobState.DONE, systems, pairs, name)


def held(*points: PointStatus) -> list[dict[str, Any]]:
    curve = grouped([Point(each.recipe["pairs"], (each.figures or {})["sari"]["value"]) for each in points])
    return held_against(points, without_training(points, "sari"), curve, "sari")


def test_the_largest_size_is_held_against_every_baseline_the_best_first() -> None:
    found = held(point(25, 40, lead=50, rules=52), point(100, 55, lead=50, rules=52))
    assert [(each["baseline"], each["difference"], each["answer"]) for each in found] == [("rules", 3, "better"), ("lead", 5, "better")]
    assert (found[0]["low"], found[0]["high"], found[0]["paired"], found[0]["n"]) == (2, 4, True, 100)


@pytest.mark.parametrize(
    ("score", "answer", "words"),
    [
        (
            55.0,
            "better",
            "Training pays: the largest size is above lead, the best without training, by 5.0 (+4.0 to +6.0, paired on 100 rows).",
        ),
        (50.5, "not shown", "Not shown that training pays: lead, without training, may be as good. The largest size: +0.5 (-0.5 to +1.5,"),
        (45.0, "worse", "Training does not pay: lead, without training, is better than the largest size by 5.0 (-6.0 to -4.0,"),
    ],
)
def test_the_answer_follows_the_paired_interval(score: float, answer: str, words: str) -> None:
    (found,) = held(point(100, score, lead=50))
    assert found["answer"] == answer
    assert words in baseline_words(found)


def test_a_comparison_may_name_the_baseline_first() -> None:
    swapped = point(100, 55)
    pair = {"a": "few_shot", "b": swapped.name, "metric": "sari", "difference": -4.0, "low": -5.0, "high": -3.0}
    found = held(PointStatus(**{**vars(swapped), "systems": {**swapped.systems, "few_shot": figure(51)}, "pairs": [pair]}))
    assert [(each["difference"], each["low"], each["high"]) for each in found] == [(4, 3, 5)]


def test_what_was_compared_with_one_model_alone_is_paired_with_that_one() -> None:
    found = held(point(100, 55, 0, lead=50, few_shot=53), point(100, 57, 1, lead=50))
    by_name = {each["baseline"]: each for each in found}
    assert (by_name["few_shot"]["models"], by_name["few_shot"]["difference"]) == (1, 2)
    assert (by_name["lead"]["models"], by_name["lead"]["difference"]) == (2, 6)
    assert by_name["lead"]["low"] < 5, "two seeds differ, and that widens what the rows leave open"


def test_a_baseline_that_the_largest_size_was_not_compared_with_is_not_paired() -> None:
    found = held(point(25, 50, lead=40, few_shot=53), point(100, 57, lead=40))
    few_shot = next(each for each in found if each["baseline"] == "few_shot")
    assert (few_shot["paired"], few_shot["difference"]) == (False, 4)
    assert few_shot["high"] - few_shot["low"] == pytest.approx(2 * 8**0.5)


def told(scores: list[float], lead: float, sizes: tuple[int, ...] = (25, 50, 100, 200, 400), worth: float = 1.0) -> tuple[str, list[str]]:
    """The verdict and the sentences on a curve whose models are held against `lead`."""
    points = [point(size, score, half=0.5, lead=lead) for size, score in zip(sizes, scores, strict=True)]
    answer = fitted([Point(size, score) for size, score in zip(sizes, scores, strict=True)], None, Worth(worth), Costs())
    answer["against"] = held(*points)
    return answer["verdict"], list(verdict_words(answer))


RISING = [40.0, 45.0, 50.0, 55.0, 60.0]


@pytest.mark.parametrize(
    ("lead", "ends"),
    [
        (62.0, "use that, unless you go on to the pairs that are foretold to pass it ("),
        (70.0, "use that, unless more pairs pass it, which is open ("),
        (90.0, "use that. More pairs are not foretold to reach it ("),
    ],
)
def test_more_pairs_are_not_advised_without_saying_that_the_models_are_worse_than_what_needs_no_training(lead: float, ends: str) -> None:
    verdict, (pays, headline, *_) = told(RISING, lead)
    assert verdict == "continue"
    assert pays.startswith("Training does not pay: lead")
    assert headline.startswith("More pairs still bring something, but at 400 pairs the model is worse than lead: ")
    assert ends in headline
    assert f"where it has {lead:.1f}" in headline
    assert "worth it" not in headline


def test_a_verdict_of_stop_or_unsure_says_so_too() -> None:
    verdict, (_, stop, *_) = told([50.0] * 5, lead=60.0)
    assert (verdict, stop) == ("stop", "Stop: more pairs are not worth it, and at 400 pairs the model is worse than lead: use that.")
    verdict, (_, unsure, *_) = told([40.0, 45.0], lead=60.0, sizes=(100, 200))
    assert verdict == "unsure"
    assert unsure.startswith(
        "Unsure: 2 sizes are too few: at least 4 are needed, but at 200 pairs the model is worse than lead: use that. "
    )
    assert unsure.endswith("Nothing that can be relied on says whether more pairs would pass it.")


def test_models_that_are_not_proven_worse_leave_the_verdict_as_it_is() -> None:
    assert told(RISING, lead=60.2)[1][1] == "Continue: more pairs are worth it."
    assert told(RISING, lead=50.0)[1][1] == "Continue: more pairs are worth it."
