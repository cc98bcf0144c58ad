"""Compression, coverage and density are those of Newsroom, by words."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.metrics.copying import Copying, compression, copying

TWEET = "omg the 5pm bus was late AGAIN, so I walked home #NoThanks 😡"
WORDS = ("the", "Bus", "was", "late,", "#NoThanks", "@ann_b", "遅れます", "опоздал", "😀", "don't")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


def test_spans_are_counted_by_their_words_and_by_their_squares() -> None:
    # "the 5pm bus" and "walked home" are copied, "and", "Ann" are not: 3 + 2 of 7 words; (9 + 4) / 7.
    assert copying(TWEET, "The 5pm bus, and Ann walked home.") == Copying(pytest.approx(5 / 7), pytest.approx(13 / 7))


def test_words_in_another_order_are_copied_one_by_one() -> None:
    assert copying("a b c", "c b a") == Copying(1.0, 1.0)


def test_of_several_spans_that_begin_alike_the_longest_counts() -> None:
    # "the bus" stands twice, once before "was late": one span of four words, wherever it stands.
    assert copying("the bus, the bus was late", "the bus was late") == Copying(1.0, 4.0)
    assert copying("the bus was late, the bus", "the bus was late") == Copying(1.0, 4.0)


def test_hashtags_are_copied_word_by_word() -> None:
    assert copying(TWEET, "No thanks!") == Copying(1.0, 2.0)


@pytest.mark.parametrize("output", ["", " ", "😡", "?!"])
def test_an_output_without_words_has_copied_nothing(output: str) -> None:
    assert copying(TWEET, output) == Copying(0.0, 0.0)


def test_an_output_beside_a_tweet_without_words_is_all_its_own() -> None:
    assert copying("😡 !!", "The bus was late.") == Copying(0.0, 0.0)


def test_compression_is_the_share_of_the_tweets_words() -> None:
    # 13 words, of which the hashtag holds two, and an emoji.
    assert compression(TWEET, "The bus was late.") == pytest.approx(4 / 14)
    assert compression(TWEET, "") == 0
    assert compression("\u200b", "The bus was late.") == 4, "a tweet without a word counts as one"


@given(TEXTS)
def test_a_copy_is_covered_as_a_whole_and_not_compressed(text: str) -> None:
    words = [word for word in text.split() if word != "😀"]
    copied = copying(text, text)
    assert copied.coverage == (1.0 if words else 0.0)
    assert copied.density >= len(words)
    assert compression(text, text) == (1.0 if text else 0.0)


@given(TEXTS, TEXTS)
def test_coverage_is_a_share_and_density_at_least_as_much(tweet: str, output: str) -> None:
    copied = copying(tweet, output)
    assert 0 <= copied.coverage <= 1
    assert copied.coverage <= copied.density
    assert copying(tweet.upper(), output) == copied or "#" in tweet, "capitals matter inside hashtags alone"


def test_a_long_post_of_one_word_takes_no_quadratic_time() -> None:
    post = "late " * 20_000
    started = time.process_time()
    assert copying(post, post.replace("late", "early", 1)).coverage > 0.99
    assert time.process_time() - started < 5
