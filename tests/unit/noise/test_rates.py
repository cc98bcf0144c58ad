"""How messy a corpus is: each rate counted on tweets whose answer is known, and found again in the noise made with it."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.noise.fitting.rates import NoiseRates, measure
from workers.noise.operations import fixed_rates


@pytest.mark.parametrize(
    ("rate", "with_it", "without"),
    [
        ("leading_handle", "@al see you", "see you @al"),
        ("retweet", "RT @al: see you", "art @al see you"),
        ("hashtag_trailing", "see you #soon http://t.co/a", "see #you soon"),
        ("hashtag_inline", "see #you soon", "see you #soon"),
        ("link", "see http://t.co/a", "see you"),
        ("emoji", "see you 😂", "see you :)"),
        ("emoticon", "see you :)", "see you (at 10:30)"),
        ("filler", "see you hahaha", "see you halo"),
        ("lowercase", "see you soon", "See you soon"),
        ("uppercase", "SEE YOU SOON", "See you SOON"),
        ("lowercase_start", "see you in Rome", "See you in Rome"),
        ("lowercase_i", "what i said", "what I said"),
        ("elongated_word", "soooo", "www"),
        ("no_final_punctuation", "see you http://t.co/a", "see you! http://t.co/a"),
        ("repeated_punctuation", "see you!!", "see you!"),
        ("dropped_apostrophe", "i dont", "i don't"),
        ("dropped_subject", "having a day", "I'm having a day"),
        ("caps_word", "See THAT", "See that"),
    ],
)
def test_each_rate_counts_what_it_is_named_for(rate, with_it, without):
    assert getattr(measure([without]), rate) == 0
    assert getattr(measure([with_it]), rate) > 0


def test_shares_are_of_the_whole_corpus():
    rates = measure(["@al hi", "@al @bo hi", "hi", "hi :)"])
    assert (rates.tweets, rates.leading_handle, rates.further_handle, rates.emoticon) == (4, 0.5, 0.5, 0.25)


def test_spellings_are_counted_against_the_standard_one_and_rare_phrases_are_doubted():
    often = measure(["u know u can", "you know"] * 500).slang["you"]["u"]
    once = measure(["brb"]).slang["be right back"]["brb"]
    assert often == pytest.approx(2 / 3, abs=0.01)
    assert once < 0.2


def test_a_spelling_that_is_also_a_word_is_not_counted():
    assert measure(["meet me at 2 or 4"] * 100).slang["to"] == measure(["hello"]).slang["to"]


def test_an_anonymised_corpus_shows_its_masks():
    rates = measure(["@user see http://url", "@user hi", "@al hi"])
    assert (rates.handle_mask, rates.link_mask) == ("@user", "http://url")
    assert measure(["@al", "@bo", "@cy"]).handle_mask is None


def test_no_tweets_give_the_rates_of_tweets_in_general():
    assert measure([]) == NoiseRates()


def test_rates_travel_as_json():
    rates = measure(["u there?? @al", "RT @bo: yesss"])
    assert NoiseRates.model_validate(json.loads(rates.model_dump_json())) == rates


@given(st.lists(st.text(max_size=80), max_size=6))
def test_any_texts_can_be_measured(texts):
    assert measure(texts).tweets == len(texts)


def test_measuring_takes_one_pass():
    assert measure(text for text in ("hi", "there")).tweets == 2


def test_noise_made_with_some_rates_is_measured_to_have_them():
    wanted = NoiseRates(leading_handle=0.4, link=0.3, lowercase=0.25, emoticon=0.2, hashtag_trailing=0.15, retweet=0.0, emoji=0.1)
    rng = random.Random(0)
    found = measure(fixed_rates.apply("We were going to see the new film in London.", wanted, rng).text for _ in range(3000))
    for name in ("leading_handle", "link", "lowercase", "emoticon", "emoji"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), abs=0.04), name
