"""What makes two tweets the same, and which sentences are fit to be targets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.text.sentences import clean_text, first_of_each, normalise, plain_sentence


@pytest.mark.parametrize(
    "text",
    [
        "Bridge closed, don't go!",
        "bridge closed dont go",
        "@al @bo Bridge closed -- DON’T go :)"[:-3],
        "RT @news: Bridge closed, don't go! http://t.co/abc",
        "Bridge   closed &amp; don't go".replace("&amp; ", ""),
        "#bridge closed don't go",
    ],
)
def test_trimmings_do_not_make_a_tweet_another(text):
    assert normalise(text) == "bridge closed dont go"


def test_a_text_of_trimmings_alone_stands_for_itself():
    assert normalise("@a http://t.co/b") == "@a http://t.co/b"


def test_numbers_and_words_tell_tweets_apart():
    assert first_of_each(["3 trains", "4 trains", "3 TRAINS!", "three trains"]) == [0, 1, 0, 3]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Shops reopen across England – in pictures", "Shops reopen across England."),
        ("will shops reopen today?", "Will shops reopen today?"),
        ("Boss says 'we will recover'", "Boss says 'we will recover'."),
        ("Deficit grows to $5.1 billion", "Deficit grows to $5.1 billion."),
        ("Too short", None),
        ("One sentence. And then another one", None),
        ("Topic: a headline with a colon", None),
        ("Follow @bank for the news today", None),
        ("See http://t.co/x for the news", None),
        ("Party time tonight for everyone 🎉", None),
        ("A headline\nwith a line break inside", None),
        ("word " * 16, None),
    ],
)
def test_only_one_short_plain_sentence_is_fit_to_be_a_summary(text, sentence):
    assert plain_sentence(text) == sentence


@given(st.text(max_size=120))
def test_a_fit_sentence_meets_the_constraints_of_its_form(text):
    sentence = plain_sentence(text)
    if sentence is not None:
        assert 3 <= len(sentence.split()) <= 15
        assert "\n" not in sentence
        assert not any(mark in sentence for mark in "@#")
        assert plain_sentence(sentence) == sentence


def test_clean_texts_may_be_long_but_not_marked_up():
    assert clean_text("It rained. Then it stopped, and " + "we walked on " * 10) is not None
    assert clean_text("it rained #again today") is None
