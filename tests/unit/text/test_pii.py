"""Scrubbing: what is hidden, what is left alone, and that a faithful target stays faithful."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.payloads import Stage
from schemas.synthesis import Filters
from workers.synthesis.filters import ExampleFilters
from workers.synthesis.rows import ExampleRow
from workers.text.constraints import faithful
from workers.text.english.words import foreign_words
from workers.text.pii import scrub

EVERY = ("email", "phone", "handle")


def hidden(text: str, *kinds: str) -> str:
    return scrub(text, "", kinds or EVERY).prompt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ann.lee+x@mail.example.org.", "write to [email]."),
        ("ANN@EXAMPLE.COM, bob@example.co.uk", "[email], [email]"),
        ("call 202-555-0143 now", "call [phone] now"),
        ("call me: (202) 555-0143", "call me: [phone]"),
        ("+44 20 7946 0958 is the desk", "[phone] is the desk"),
        ("+4915123456789!", "[phone]!"),
        ("txt 2025550143", "txt [phone]"),
        ("thx @Ann_Lee and .@bob", "thx @user and .@user"),
        ("＠ann hi", "@user hi"),
    ],
)
def test_each_kind_is_replaced_by_its_placeholder(text: str, expected: str) -> None:
    assert hidden(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "bag claim #2025550143 and order 2025550143",
        "from 2015/16 to 2016/17, 15/16",
        "won 3-2 (4-1 on aggregate) at 19:45 on 2015-06-30",
        "$2025550143 is 1,234,567,890 cents",
        "3.14159265358979 and 192.168.100.200",
        "see https://x.example/2025550143?tel=202-555-0143",
        "2@3.50 each, 5@10am",
        "a@b, c @ d, x@y.1",
        "flight 202 555 of 0143",
    ],
)
def test_numbers_and_signs_of_other_meaning_are_left_alone(text: str) -> None:
    assert hidden(text, "email", "phone") == text


def test_only_what_is_asked_for_is_replaced() -> None:
    text = "@ann a@b.example 202-555-0143"
    assert hidden(text, "email") == "@ann [email] 202-555-0143"
    assert hidden(text, "phone") == "@ann a@b.example [phone]"
    assert hidden(text, "handle") == "@user a@b.example 202-555-0143"
    assert scrub(text, text, ()).counts == {}


def test_the_number_written_in_another_way_is_hidden_in_the_target_too() -> None:
    clean = scrub("pls txt 2025550143 asap", "Please text 2025550143 as soon as possible.", ("phone",))
    assert (clean.prompt, clean.target) == ("pls txt [phone] asap", "Please text [phone] as soon as possible.")
    other = scrub("call 202-555-0143", "Ring 2025550143 now.", ("phone",))
    assert "555" not in other.target


def test_a_name_that_only_the_handle_said_becomes_someone() -> None:
    clean = scrub("ugh @SkyJet lost my bag", "SkyJet lost my bag.", ("handle",))
    assert (clean.prompt, clean.target) == ("ugh @user lost my bag", "Someone lost my bag.")
    assert scrub("ugh @SkyJet lost my bag", "Sky Jet lost my bag.", ("handle",)).target == "Someone lost my bag."
    assert scrub("my bag was lost by @ann_lee", "My bag was lost by Ann Lee.", ("handle",)).target == "My bag was lost by someone."


def test_a_name_that_the_tweet_says_besides_stays() -> None:
    assert scrub("@SkyJet why is SkyJet late", "Why is SkyJet late?", ("handle",)).target == "Why is SkyJet late?"


def test_a_word_that_was_new_before_is_left_for_the_filter_to_find() -> None:
    assert scrub("thanks @ann", "Thanks, Bob.", ("handle",)).target == "Thanks, Bob."


def test_the_lineage_says_what_was_hidden() -> None:
    filters = ExampleFilters(Filters(scrub=EVERY))
    scrubbed = filters.judge(
        ExampleRow(Stage.SUMMARY, "@ann call 202-555-0143", "Call 202-555-0143.", "human", {"tweet_id": "1"}, "train", 0)
    )[0]
    assert (scrubbed.prompt_text, scrubbed.target_text) == ("@user call [phone]", "Call [phone].")
    assert scrubbed.lineage == {"tweet_id": "1", "scrubbed": {"phone": 2, "handle": 1}}
    untouched = ExampleRow(Stage.SUMMARY, "call me", "Call me.", "human", {}, "train", 0)
    assert filters.judge(untouched)[0] is untouched


WORDS = st.sampled_from(
    ["train", "late", "Oslo", "the", "call", "me", "3", "1,200", "12:30", "2015", "never", "#fail", "ugh", "Bergen", "tel"]
)
PRIVATE = st.sampled_from(
    [
        "@ann",
        "@SkyJet",
        "@bob_the_7th",
        "ann@mail.example",
        "x.y@a-b.example.org",
        "202-555-0143",
        "(202) 555-0143",
        "+44 20 7946 0958",
        "2025550143",
    ]
)
TWEETS = st.lists(st.one_of(WORDS, PRIVATE), min_size=1, max_size=14).map(" and ".join)


@given(TWEETS, st.data())
def test_a_faithful_target_stays_faithful(tweet: str, data: st.DataObject) -> None:
    said = tweet.replace("@", " ").replace("_", " ").split()
    target = " ".join(data.draw(st.lists(st.sampled_from([*tweet.split(), *said]), min_size=1, max_size=8)))
    assume(faithful(tweet, target) and not foreign_words(tweet, target))
    clean = scrub(tweet, target, EVERY)
    assert faithful(clean.prompt, clean.target)
    assert not foreign_words(clean.prompt, clean.target)


@given(TWEETS)
def test_nothing_private_is_left_and_doing_it_again_changes_nothing(tweet: str) -> None:
    once = scrub(tweet, tweet, EVERY)
    assert not any(private in once.prompt + once.target for private in ("ann", "SkyJet", "bob", "555-0143", "7946", "x.y"))
    again = scrub(once.prompt, once.target, EVERY)
    assert (again.prompt, again.target, again.counts) == (once.prompt, once.target, {})


NUMBERS = st.one_of(
    st.integers(0, 999_999).map(str),
    st.integers(0, 10**12).map(lambda n: f"{n:,}"),
    st.floats(0, 1e6, allow_nan=False).map(lambda x: f"{x:.2f}"),
    st.dates().map(str),
    st.times().map(lambda moment: moment.isoformat("minutes")),
    st.integers(0, 10**18).map(lambda n: f"#{n}"),
    st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda score: f"{score[0]}-{score[1]}"),
)


@given(st.lists(st.tuples(NUMBERS, st.sampled_from([" points,", " km;", " and", " vs"])), min_size=1, max_size=6))
def test_numbers_that_are_no_telephone_numbers_stay_to_the_letter(numbers: list[tuple[str, str]]) -> None:
    text = "we saw " + " ".join(number + unit for number, unit in numbers)
    assert scrub(text, text, ("phone", "email")).prompt == text
