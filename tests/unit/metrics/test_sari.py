"""SARI gives the numbers of its authors' algorithm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.metrics.sari import sentence_sari

SOURCE = "About 95 species are currently accepted ."
REFERENCES = ["About 95 species are currently known .", "About 95 species are now accepted .", "95 species are now accepted ."]
WORDS = ("the", "a", "bus", "train", "was", "is", "late", "early", "again", ".")
DISTINCT = st.lists(st.sampled_from(WORDS), min_size=1, unique=True).map(" ".join)
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


def test_the_example_of_the_paper_scores_as_published() -> None:
    assert sentence_sari(SOURCE, "About 95 you now get in .", REFERENCES) == pytest.approx(26.953601953601954)


def test_one_reference_scores_as_published() -> None:
    assert sentence_sari(SOURCE, "About 95 you now get in .", REFERENCES[:1]) == pytest.approx(21.805555555555557)


def test_a_case_small_enough_for_pencil_and_paper() -> None:
    # source a b, output a c, reference a d.
    # n=1: keep {a}: F1 1. delete {b}, which the reference deletes too: 1. add {c}, wanted {d}: 0.
    # n=2: nothing kept and nothing to keep: 1. delete {a b}: 1. add {a c}, wanted {a d}: 0.
    # n=3, 4: nothing there to judge: keep, delete and add are 1.
    assert sentence_sari("a b", "a c", ["a d"]) == pytest.approx(100 * (2 / 3 + 2 / 3 + 1 + 1) / 4)


def test_a_word_kept_against_the_reference_costs_keep_and_not_delete() -> None:
    # source a b, output a b, reference a.
    # n=1: kept {a, b}, well {a}: precision 1/2, recall 1, F1 2/3; b not deleted: 0; nothing added or to add: 1.
    # n=2: kept {a b}, not well; nothing to keep: precision 0, recall 1, F1 0; a b not deleted: 0; 1. n=3, 4: 1.
    assert sentence_sari("a b", "a b", ["a"]) == pytest.approx(100 * ((2 / 3 + 0 + 1) / 3 + 1 / 3 + 1 + 1) / 4)


def test_a_second_copy_of_a_word_counts_as_the_authors_count_it() -> None:
    # source a a, output a, reference a: a is kept well, but deleting the other a is not credited, since the reference has an a.
    # n=1: 1, 0, 1. n=2: nothing to keep: 1, {a a} deleted well: 1, 1. n=3, 4: 1.
    assert sentence_sari("a a", "a", ["a"]) == pytest.approx(100 * (2 / 3 + 3) / 4)


@given(DISTINCT, SENTENCES)
def test_an_output_equal_to_its_reference_scores_100(source: str, reference: str) -> None:
    assert sentence_sari(source, reference, [reference]) == pytest.approx(100)


@given(SENTENCES, SENTENCES, SENTENCES)
def test_every_score_lies_between_0_and_100_and_ignores_case(source: str, output: str, reference: str) -> None:
    score = sentence_sari(source, output, [reference])
    assert 0 <= score <= 100
    assert sentence_sari(source.upper(), output.title(), [reference]) == pytest.approx(score)


def test_copying_a_messy_tweet_scores_low() -> None:
    tweet = "OMGGG cant believe @BlueJet cancelled my flite AGAIN!!! 3rd time this month smh #fail http://t.co/x"
    reference = "BlueJet cancelled my flight for the 3rd time this month."
    assert sentence_sari(tweet, tweet, [reference]) < 15 < sentence_sari(tweet, "BlueJet cancelled my flight.", [reference])


def test_a_row_without_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        sentence_sari("a", "a", [])
