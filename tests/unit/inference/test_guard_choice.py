"""Among what the model wrote, the guard takes what costs least, and cuts before it gives the model up."""

from __future__ import annotations

import pytest

from schemas.payloads import Stage
from tests.support.scripted_engine import ScriptedEngine
from workers.inference.guard import guarded, unguarded
from workers.text.checks import check
from workers.text.constraints import MAX_WORDS, meets_constraints

TWEET = "my train left Leeds early and grandma missed it"
INVENTED = "My train left Leeds early, horrible."
SHORT = "My train left."
FULL = "My train left Leeds early and grandma missed it."

LONG_TWEET = (
    "we finally painted the kitchen yellow, and tomorrow my brother brings the new table that he built with grandpa in the old barn"
)
TOO_LONG = "We finally painted the kitchen yellow, and tomorrow my brother brings the new table that he built with grandpa in the old barn."


@pytest.mark.parametrize("beams", [(SHORT, FULL), (FULL, SHORT)])
def test_of_two_that_cost_the_same_the_likelier_one_is_taken(beams: tuple[str, str]) -> None:
    assert (check(TWEET, SHORT).cost, check(TWEET, FULL).cost) == (0, 0)
    (row,) = guarded(ScriptedEngine({TWEET: (INVENTED, *beams)}), [TWEET])
    assert (row.text, row.flags) == (beams[0], ())


def test_a_finding_that_costs_one_is_no_reason_to_ask_again_and_a_swap_is() -> None:
    tweet = "my train left Leeds early and grandma missed it"
    swapped = "Leeds early left my train."
    assert (check(tweet, swapped).flags, check(tweet, swapped).cost) == (("order",), 2)
    (row,) = guarded(ScriptedEngine({tweet: (swapped, FULL)}), [tweet])
    assert (row.text, row.tries) == (FULL, 2)
    tweet = "late bus again, Leeds"
    one = "The late bus, Leeds."
    assert (check(tweet, one).flags, check(tweet, one).cost) == (("padding",), 1)
    (row,) = guarded(ScriptedEngine({tweet: (one, "Late bus again, Leeds.")}), [tweet])
    assert (row.text, row.tries, row.flags) == (one, 1, ("padding",)), "it is kept, and says so"


def test_a_candidate_that_is_too_long_is_ended_at_its_last_clause_that_fits_before_the_tweets_opening_stands_in() -> None:
    # Given a model whose every text is too long to be kept as it is
    reworded = TOO_LONG.replace("yellow, and", "yellow; and")
    (row,) = guarded(ScriptedEngine({LONG_TWEET: (reworded, TOO_LONG)}), [LONG_TWEET])
    # Then one of them is cut, and it passes for the model's own
    assert row.text == "We finally painted the kitchen yellow."
    assert (row.flags, row.tries, row.greedy) == ((), 2, reworded)
    assert meets_constraints(LONG_TWEET, row.text)


def test_a_text_longer_than_its_tweet_is_cut_to_the_tweets_length() -> None:
    tweet = "so tired today, need more coffee"
    (row,) = guarded(ScriptedEngine({tweet: ("I am so tired today, I need more coffee.",)}), [tweet])
    assert row.text == "I am so tired today."
    assert row.flags == ()


def test_a_whole_sentence_that_fits_is_taken_before_a_cut_one() -> None:
    whole = "Tomorrow my brother brings the new table."
    (row,) = guarded(ScriptedEngine({LONG_TWEET: (TOO_LONG, whole)}), [LONG_TWEET])
    assert check(LONG_TWEET, "We finally painted the kitchen yellow.").cost == check(LONG_TWEET, whole).cost == 0
    assert row.text == whole


def test_a_cut_that_is_poor_as_well_leaves_the_place_to_the_tweets_opening() -> None:
    invented = "Anna and Boris painted Boston yellow, and tomorrow my brother brings the new table that grandpa built for us."
    (row,) = guarded(ScriptedEngine({LONG_TWEET: (invented,)}), [LONG_TWEET])
    assert row.text == "We finally painted the kitchen yellow."
    assert row.flags[0] == "fallback"


def test_the_clean_stage_is_never_cut() -> None:
    (row,) = guarded(ScriptedEngine({LONG_TWEET: (TOO_LONG + " horrible", TOO_LONG)}), [LONG_TWEET], stage=Stage.CLEAN)
    assert row.text == TOO_LONG


@pytest.mark.parametrize(("stage", "bound"), [(Stage.SUMMARY, MAX_WORDS), (Stage.CLEAN, None)])
def test_the_beams_of_a_summary_are_bounded_while_they_are_written(stage: Stage, bound: int | None) -> None:
    engine = ScriptedEngine({TWEET: (INVENTED, FULL)})
    guarded(engine, [TWEET], stage=stage)
    (_, greedy), (_, beams) = engine.calls
    assert (greedy.max_words, beams.max_words) == (None, bound)


def test_answers_that_are_known_already_are_not_asked_for_again() -> None:
    script = {TWEET: (INVENTED, FULL), "the bus is late again": ("The bus is late again.",)}
    tweets = [*script, "@anonymous :)"]
    first = unguarded(ScriptedEngine(script), tweets)
    engine = ScriptedEngine(script)
    assert guarded(engine, tweets, first=first) == guarded(ScriptedEngine(script), tweets)
    assert [(count, sampling.num_beams) for count, sampling in engine.calls] == [(1, 4)]
