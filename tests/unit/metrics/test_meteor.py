"""METEOR gives what pencil and paper give, by forms and stems alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.metrics.meteor import sentence_meteor

WORDS = ("the", "bus", "was", "late", "again", "遅れます", "опоздал", "😀", "!", "5pm")
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


def test_four_words_of_five_in_one_piece() -> None:
    # precision 4/5, recall 4/4: F = 0.8 / (0.9 * 0.8 + 0.1 * 1); one piece of four matches: penalty 0.5 * (1/4)^3.
    wanted = 100 * (0.8 / 0.82) * (1 - 0.5 / 64)
    assert sentence_meteor("the bus was late again", ["the bus was late"]) == pytest.approx(wanted)


def test_another_order_costs_up_to_half() -> None:
    # "late" and "bus" match, each a piece of its own: precision = recall = 1, penalty 0.5 * (2/2)^3.
    assert sentence_meteor("late bus", ["bus late"]) == pytest.approx(50)


def test_words_of_one_stem_match() -> None:
    # run/running and flight/flights share their stems: three matches in one piece.
    assert sentence_meteor("they cancelled flights", ["they cancel flight"]) == pytest.approx(100 * (1 - 0.5 / 27))


def test_synonyms_do_not_match_so_figures_are_lower_bounds() -> None:
    # With WordNet "film" and "movie" would be a third match.
    # precision = recall = 2/3 in one piece of two: F 2/3, penalty 0.5 * (1/2)^3.
    assert sentence_meteor("the good film", ["the good movie"]) == pytest.approx(100 * 2 / 3 * (1 - 0.5 / 8))


def test_the_nearest_reference_counts() -> None:
    output = "the bus was late"
    assert sentence_meteor(output, ["soup at noon", output]) == sentence_meteor(output, [output]) > 99


@pytest.mark.parametrize("output", ["", " ", "soup", "😀"])
def test_what_shares_no_word_scores_0(output: str) -> None:
    assert sentence_meteor(output, ["the bus was late"]) == 0


def test_a_row_without_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        sentence_meteor("the bus", [])


@given(SENTENCES, SENTENCES)
def test_scores_lie_between_0_and_100_whatever_the_script_and_ignore_case(output: str, reference: str) -> None:
    score = sentence_meteor(output, [reference])
    assert 0 <= score <= 100
    assert sentence_meteor(output.upper(), [reference]) == pytest.approx(score)


@given(SENTENCES)
def test_an_output_equal_to_its_reference_is_in_one_piece(sentence: str) -> None:
    assert sentence_meteor(sentence, [sentence]) >= 50
