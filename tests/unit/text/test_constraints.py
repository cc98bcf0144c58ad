"""The constraints are about form, faithfulness about what the tweet says."""

from __future__ import annotations

import pytest

from workers.text.constraints import faithful, meets_constraints

TWEET = "RT @anonymous OMG the 3rd #NewYork marathon was sooo good, 50k people came from the U.S. & Kenya!!! dont miss it in sept :) http://t.co/x"


@pytest.mark.parametrize(
    "output",
    [
        "The 3rd New York marathon was so good.",
        "Is it good?",
        "It cost $5.1 million!",
        'He said "no."',
        "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen.",
    ],
)
def test_one_plain_sentence_meets_the_constraints(output: str) -> None:
    assert meets_constraints(TWEET, output)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("", "empty"),
        ("...", "no word"),
        ("It was good", "no end"),
        ("It was good!!", "two ends"),
        ("It was good. We ran.", "two sentences"),
        ('He said "no." We ran.', "two sentences, one quoted"),
        ("It was good.\nWe ran.", "two lines"),
        (" It was good.", "a space before"),
        ("One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen.", "16 words"),
        ("Thanks @anonymous it was good.", "a handle"),
        ("See http://t.co/x.", "a link"),
        ("See bit.ly/abc now.", "a bare link"),
        ("The #marathon was good.", "a hashtag"),
        ("It was good 🎉.", "an emoji"),
        ("It was good :).", "an emoticon"),
        ("I <3 it.", "a heart"),
    ],
)
def test_anything_else_breaks_it(output: str, why: str) -> None:
    assert not meets_constraints(TWEET, output), why


def test_a_summary_is_never_longer_than_its_tweet() -> None:
    assert meets_constraints("nervous as hell!!", "Nervous as hell.")
    assert not meets_constraints("nervous as hell!!", "I am nervous as hell.")
    assert meets_constraints("#NervousAsHell", "Nervous as hell."), "the words of a hashtag are words"


@pytest.mark.parametrize(
    "output",
    [
        "The third New York marathon was good.",
        "50,000 people came from the US and Kenya.",
        "50k people came.",
        "Don't miss it in September.",
        "People came from Kenya, I hear.",
        "Came from Kenya.",
        "It was good.",
        "Miss http://t.co/x.",
    ],
)
def test_what_the_tweet_says_is_faithful_in_other_spelling(output: str) -> None:
    assert faithful(TWEET, output)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("The 4th marathon was good.", "another number"),
        ("The marathon had 50 million people.", "another magnitude"),
        ("Twelve people came.", "a number spelled out"),
        ("People came from Ethiopia.", "another name"),
        ("Anna loved it.", "a name at the start"),
        ("Miss http://t.co/y.", "another link"),
    ],
)
def test_a_number_name_or_link_of_its_own_is_not(output: str, why: str) -> None:
    assert not faithful(TWEET, output), why


def test_small_numbers_in_words_and_digits_are_one() -> None:
    assert faithful("we got 2 dogs and three cats", "We got two dogs and 3 cats.")
    assert faithful("my 10yo ran 4miles", "My 10 year old ran 4 miles.")
    assert faithful("someone was here once", "One person was here at first.")
