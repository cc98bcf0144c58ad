"""The rules clean what is noise and no more; the lead is cut mechanically and always keeps the promise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.metrics.baselines import lead, rules
from workers.text.clean import opening
from workers.text.constraints import MAX_WORDS, meets_constraints

WORDS = ("i", "the", "bus", "Oslo", "U.S.", "Dr. Who", "$5.1", "3rd", "late...", "really?!", "NO!!!", "sooo", "well,", "(so)", '"yes."')
NOISE = (
    "@anonymous",
    "RT @ann:",
    "#fail",
    "#NewYork",
    "#1",
    "http://t.co/x",
    ":)",
    "=D",
    "<3",
    "🎉",
    "lol",
    "hahaha",
    "-",
    "--->",
    "&amp;",
)
PIECES = st.sampled_from(WORDS + NOISE)
TWEETS = st.lists(PIECES, min_size=1, max_size=30).map(" ".join)


@pytest.mark.parametrize(
    ("tweet", "cleaned"),
    [
        ("@anonymous @ann thanks so much :) http://t.co/x", "Thanks so much."),
        ("RT @anonymous: the bus is late again #fail #monday", "The bus is late again."),
        ("off to the #NewYorkMarathon today!!! i cant wait =D", "Off to the New York Marathon today! I cant wait."),
        ("soooo goooood lol, NO way?!?!", "So good NO way?"),
        ("Fish &amp; chips at @TheHarbour with @anonymous", "Fish & chips at TheHarbour with someone."),
        ("I WILL NEVER FLY WITH THEM AGAIN", "I will never fly with them again."),
        ("great read :) More tomorrow", "Great read. More tomorrow."),
        ("Photo of the day (via @anonymous)", "Photo of the day."),
        ("#HappyMonday", "Happy Monday."),
        ("lmao", "Lmao."),
        (":) :)", ""),
        ("@anonymous http://t.co/x", ""),
    ],
)
def test_rules_drop_noise_and_keep_words(tweet: str, cleaned: str) -> None:
    assert rules(tweet) == cleaned


@pytest.mark.parametrize(
    ("tweet", "first"),
    [
        ("Wow! Very proud of my team. It was great", "Wow, very proud of my team, it was great."),
        ("Is the library open today?", "Is the library open today?"),
        ("The U.S. Postal Service lost money. Why?", "The US Postal Service lost money, why?"),
        (" ".join(f"w{n}" for n in range(20)), "W" + " ".join(f"w{n}" for n in range(15))[1:] + "."),
    ],
)
def test_the_lead_is_the_first_fifteen_words_as_one_sentence(tweet: str, first: str) -> None:
    assert lead(tweet) == first


@given(TWEETS)
def test_the_lead_keeps_the_promise_wherever_there_is_a_word(tweet: str) -> None:
    assert meets_constraints(tweet, lead(tweet)) or not rules(tweet)


@given(TWEETS)
def test_an_opening_keeps_the_promise_too(tweet: str) -> None:
    text = opening(rules(tweet), min(MAX_WORDS, len(rules(tweet).split())))
    assert not rules(tweet) or len(text.split()) <= MAX_WORDS
    assert not text or text[-1] in ".?!"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We won the cup at last. Now we are going to celebrate it all night with the town.", "We won the cup at last."),
        ("Wow. We won the cup, and now we are going to celebrate it all night with everyone.", "Wow, we won the cup."),
        ("We stay at home all day because it rains and nobody really wants to go out today.", "We stay at home all day because it rains."),
        ("I saw a big house by the old town with one for all of the children.", "I saw a big house by the old town with one for all."),
        ("Short and good?", "Short and good?"),
    ],
)
def test_an_opening_ends_where_a_clause_does(text: str, expected: str) -> None:
    assert opening(text, MAX_WORDS) == expected
