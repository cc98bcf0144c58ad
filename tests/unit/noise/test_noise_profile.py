"""A noise profile: each operation is counted on tweets whose answer is known, with its spread, and no text of any tweet is in it."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.errors import UserError
from workers.noise.fitting import profile
from workers.noise.fitting.dictionary import frequencies
from workers.noise.fitting.profile import NoiseProfile, fit, read
from workers.noise.fitting.style_vectors import style_of
from workers.noise.fitting.typos import Diagnosis
from workers.noise.operations.fitted_style import Fitted

CLEAN = "The museum in Vienna is open today, and it is free."


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    return Diagnosis(frequencies())


def learnt(*tweets: str, times: int = 60) -> NoiseProfile:
    return fit([tweet for tweet in tweets for _ in range(times)], frequencies())


@pytest.mark.parametrize(
    ("operation", "tweet"),
    [
        ("all small", "the museum in vienna is open today"),
        ("all capitals", "THE MUSEUM IN VIENNA IS OPEN"),
        ("small opening", "the museum in Vienna is open."),
        ("small openings inside", "The museum is open. it is free."),
        ("small i", "Today i saw Vienna."),
        ("shouted word", "The museum is REALLY open."),
        ("lengthened", "The museum is sooo open."),
        ("vowels dropped", "The wthr in Vienna is fine."),
        ("letter dropped", "The bulding in Vienna is open."),
        ("letter doubled", "The buildingg in Vienna is open."),
        ("letters swapped", "The museum in Vienna is poen and frei but agian."),
        ("key missed", "The buildimg in Vienna is open."),
        ("slang", "The museum is gr8."),
        ("curt spelling", "Going 2 the museum."),
        ("ending clipped", "Still waitin in Vienna."),
        ("apostrophe dropped", "It isnt open."),
        ("and written as &", "Vienna & Rome are open."),
        ("words merged", "The museum is open aswell."),
        ("word split", "Every one is in Vienna."),
        ("subject dropped", "Loving the museum in Vienna."),
        ("no final mark", "The museum is open"),
        ("final mark repeated", "The museum is open!!"),
        ("dots", "The museum is open...and free."),
        ("marks repeated inside", "It is open!! Come in."),
        ("no blank after a mark", "The museum is open.It is free."),
        ("blank before a mark", "The museum is open , I think."),
        ("wide blanks", "It is open.  Come in."),
        ("entities", "Vienna &amp; Rome."),
        ("handles first", "@anna the museum is open."),
        ("handles inside", "The museum that @anna likes is open."),
        ("handles last", "The museum is open @anna"),
        ("retweet", "RT @anna: The museum is open."),
        ("hashtags first", "#Vienna The museum is open."),
        ("hashtags in place", "The #museum is open."),
        ("hashtags last", "The museum is open. #vienna"),
        ("links", "The museum is open. http://t.co/abc"),
        ("emoticons", "The museum is open :)"),
        ("emoji", "The museum is open 😂"),
        ("fillers", "The museum is open lol"),
    ],
)
def test_each_operation_is_counted_where_it_is_and_not_in_clean_text(diagnosis, operation, tweet):
    count = profile.OPERATIONS[operation]
    assert count(style_of(tweet, diagnosis)) > 0
    assert count(style_of(CLEAN, diagnosis)) == 0


def test_a_careful_tweet_and_a_messy_one_are_told_apart(diagnosis):
    assert style_of(CLEAN, diagnosis).careful
    assert not style_of("i cant believe this", diagnosis).careful


def test_the_spread_tells_a_few_messy_writers_from_many_slightly_messy_ones():
    calm = "We are in Vienna now."
    few = fit([calm] * 90 + ["We are sooo sooo sooo sooo happyyy now."] * 10, frequencies()).operations["lengthened"]
    many = fit([calm] * 50 + ["We are sooo happy now."] * 50, frequencies()).operations["lengthened"]
    assert few.mean == many.mean == 0.5
    assert (few.share, many.share) == (0.1, 0.5)
    assert few.deviation > 2 * many.deviation
    assert few.quantiles == (0, 0.5, 5)


def test_what_comes_together_is_told():
    told = learnt("i cant sleep", CLEAN).together
    assert [pair.correlation for pair in told if {pair.one, pair.other} == {"all small", "apostrophe dropped"}] == [1.0]


@pytest.mark.parametrize(
    ("layout", "tweet"),
    [("qwertz", "we talk abozt nozhing here, and thaz is it"), ("azerty", "the pzople here are famimy, and simpme ones")],
)
def test_the_keyboard_is_the_one_whose_neighbours_explain_the_slips(layout, tweet):
    shares = learnt(tweet).keyboards
    assert shares[layout] > max(share for other, share in shares.items() if other != layout)


def test_no_word_handle_tag_or_link_of_a_tweet_is_in_the_profile():
    secret = [f"@zanzibarjoe{n} quokka{n} loves #wombatday sooo much http://t.co/kiwi{n} :)" for n in range(60)]
    document = fit([*secret, *(["@bigbrand zanzibar"] * 200)], frequencies()).model_dump_json()
    for word in ("zanzibar", "quokka", "wombat", "kiwi", "bigbrand"):
        assert word not in document
    strings = [value for row in json.loads(document)["styles"]["rows"] for value in row if isinstance(value, str)]
    assert all(re.fullmatch(r"[AHLREJFV.!?m]*", value) for value in strings)


def test_the_mask_of_an_anonymised_corpus_is_kept_since_it_names_nobody():
    assert learnt("@user the museum is open").rates.handle_mask == "@user"
    assert learnt("@united the museum is open").rates.handle_mask is None


def test_a_profile_is_the_same_for_the_same_tweets_in_any_order_and_travels_as_json():
    tweets = [f"Look {n} times, #{'abc'[n % 3]} :) {'so' + 'o' * (n % 5)}" for n in range(80)]
    once, again = fit(tweets, frequencies()), fit(random.Random(1).sample(tweets, len(tweets)), frequencies())
    assert once.fingerprint == again.fingerprint
    assert read(once.model_dump_json(), "mine.json").fingerprint == once.fingerprint


def test_the_order_of_its_keys_changes_neither_fingerprint_nor_noise():
    learnt = fit([f"omg u guys, {n} ppl r here :) lol" if n % 2 else f"haha gr8 {n} luv u :D" for n in range(80)], frequencies())
    stored = read(json.dumps(json.loads(learnt.model_dump_json()), sort_keys=True), "mine.json")
    assert stored.fingerprint == learnt.fingerprint
    for seed in range(30):
        one, other = (Fitted(each).apply("You people are great and I love you.", random.Random(seed)) for each in (learnt, stored))
        assert one == other


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"form": "another/2"}, "form"),
        ({"tweets": 0}, "tweets"),
        ({"styles": {"columns": ["words"], "rows": []}}, "fit again"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_file_that_is_no_profile_is_told_with_where(change, told):
    document = json.dumps(json.loads(learnt(CLEAN).model_dump_json()) | change)
    with pytest.raises(UserError, match=told) as raised:
        read(document, "mine.json")
    assert "tweetmill noise fit --profile mine.json" in str(raised.value)


def test_a_style_that_holds_text_is_refused():
    document = json.loads(learnt(CLEAN).model_dump_json())
    document["styles"]["rows"][0][8] = "Anna was here"
    with pytest.raises(UserError, match="something else than counts"):
        read(json.dumps(document), "mine.json")


def test_too_few_tweets_are_refused_with_what_to_do():
    with pytest.raises(UserError, match=r"50 at least\. `tweetmill ingest`"):
        fit(["hello"] * 49, frequencies())


@settings(max_examples=40)
@given(st.lists(st.text(max_size=80), max_size=6))
def test_any_texts_can_be_fitted(texts):
    assert fit([*texts, *([CLEAN] * 50)], frequencies()).tweets == len(texts) + 50
