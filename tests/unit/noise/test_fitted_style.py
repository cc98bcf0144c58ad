"""Noise in the style of one tweet: as much as the tweet had, only what the operation is named for, and never at a number or a negation."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.noise.test_fixed_rates import is_subsequence, negations, sentences
from workers.noise.fitting import profile
from workers.noise.fitting.dictionary import frequencies
from workers.noise.fitting.rates import NoiseRates
from workers.noise.fitting.slang import SLANG
from workers.noise.fitting.style_vectors import STYLE_COLUMNS, Style
from workers.noise.fitting.word_lists import ARTICLES
from workers.noise.operations.fitted_style import Fitted

TWEETS = (
    [f"@sam{n} omg i cant beleive the bus is late agian!!! {n} minutes now smh #fail" for n in range(30)]
    + [f"The library in Oslo opens at {n} on Mondays, and the museum does not." for n in range(30)]
    + [f"loving this sunny day :) going 2 the park w/ ppl &amp; dogs http://t.co/a{n}" for n in range(30)]
    + [f"RT @anna: SO TIRED.  {n} hours of sleep... never again" for n in range(30)]
)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def noise() -> Fitted:
    learnt = profile.fit(TWEETS, frequencies())
    spellings = NoiseRates(slang={phrase: {forms[0]: 0.5} for phrase, forms in SLANG.items()})
    return Fitted(learnt.model_copy(update={"rates": spellings, "longest": 10_000}))


def letters(text: str) -> str:
    return "".join(re.findall(r"\w", text.casefold()))


def same(view: Callable[[str], object]) -> Callable[[str, str], bool]:
    return lambda clean, noisy: view(clean) == view(noisy)


def words_stay(clean: str, noisy: str) -> bool:
    return is_subsequence(clean.split(), noisy.split())


def only_articles_go(clean: str, noisy: str) -> bool:
    left = [word for word in clean.casefold().split() if word.strip('(),.!?"') not in ARTICLES]
    return is_subsequence(left, noisy.casefold().split())


def at_most(words: int) -> Callable[[str, str], bool]:
    """At most so many words differ, and each keeps its first letter."""

    def check(clean: str, noisy: str) -> bool:
        changed = [(one, other) for one, other in zip(clean.split(), noisy.split(), strict=True) if one != other]
        return len(changed) <= words and all(one[0] == other[0] for one, other in changed)

    return check


# A style that does nothing to a text that ends in a full stop, and each thing that it may do besides.
QUIET = Style(words=12, contracted=9, end=".", end_length=1, stops=9, commas=99, articles=99)
BESIDE: dict[str, tuple[dict[str, object], Callable[[str, str], bool]]] = {
    "nothing": ({}, same(str)),
    "all small": ({"case": 1}, same(str.casefold)),
    "all capitals": ({"case": 2}, same(str.casefold)),
    "small openings": ({"opens_small": 1, "small_openings": 3}, same(str.casefold)),
    "small i": ({"small_i": 2}, same(str.casefold)),
    "shouting": ({"shouted": 2}, same(str.casefold)),
    "no final mark": ({"end": "", "end_length": 0}, same(letters)),
    "a run of marks": ({"end": "!", "end_length": 4}, same(letters)),
    "a mixture of marks": ({"end": "m", "end_length": 3}, same(letters)),
    "sentences run on": ({"stops": 0, "dots": 2, "dashes": 1, "bang_runs": 1}, same(letters)),
    "no commas": ({"commas": 0}, same(letters)),
    "odd blanks": ({"wide_blanks": 2, "tight": 1, "loose": 1}, same(letters)),
    "no apostrophes": ({"bare": 3, "contracted": 3}, same(lambda text: re.sub("['’]", "", text))),
    "no articles": ({"articles": 0}, only_articles_go),
    "no subject": ({"subjectless": 1}, lambda clean, noisy: is_subsequence(noisy.casefold().split(), clean.casefold().split())),
    "slang": ({"slang": 2}, lambda clean, noisy: len(noisy.split()) <= len(clean.split()) + 2),
    "short forms": ({"curt": 2}, lambda clean, noisy: len(noisy) <= len(clean)),
    "ampersands": ({"ampersands": 2}, same(lambda text: re.sub(r"\b(?:and|And)\b", "&", text))),
    "letters dropped": ({"letter_dropped": 1}, at_most(1)),
    "letters doubled": ({"letter_doubled": 2}, at_most(2)),
    "letters swapped": ({"letters_swapped": 1}, at_most(1)),
    "keys missed": ({"key_missed": 1}, at_most(1)),
    "vowels dropped": ({"vowels_dropped": 2}, at_most(2)),
    "endings clipped": ({"clipped": 1}, at_most(1)),
    "letters repeated": ({"stretched": 1, "stretch": 3}, at_most(1)),
    "words merged": ({"words_merged": 2}, same(lambda text: letters(text))),
    "words split": ({"words_split": 2}, same(letters)),
    "hashtags in place": ({"inside": "H"}, same(letters)),
    "handles, links and faces": ({"head": "RAAHE", "inside": "ALEF", "tail": "VAHLJEF"}, words_stay),
    "entities": (
        {"entities": 1, "ampersands": 2},
        same(lambda text: re.sub(r"\b(?:and|And)\b", "&", text.replace("&amp;", "&"))),
    ),
}


def imitated(noise: Fitted, sentence: str, asked: dict[str, object], seed: int):
    return noise.imitate(sentence, Style(**{**dict(zip(STYLE_COLUMNS, QUIET.row(), strict=True)), **asked}), random.Random(seed))


@pytest.mark.parametrize(("asked", "allowed"), BESIDE.values(), ids=BESIDE)
@settings(max_examples=40)
@given(sentence=sentences, seed=seeds)
def test_each_operation_is_seeded_changes_what_it_is_named_for_and_spares_numbers_and_negations(noise, asked, allowed, sentence, seed):
    sentence = f"{sentence.strip()} today.".strip()
    noisy = imitated(noise, sentence, asked, seed)
    assert noisy == imitated(noise, sentence, asked, seed)
    assert allowed(sentence, noisy.text), noisy
    assert noisy.operations or noisy.text == sentence
    assert all(done.at is None or 0 <= done.at <= len(sentence.split()) for done in noisy.operations)
    assert is_subsequence(re.findall(r"\d+(?:[.,]\d+)*", sentence), re.findall(r"\d+(?:[.,]\d+)*", noisy.text))
    assert is_subsequence(negations(sentence), negations(noisy.text))


@pytest.mark.parametrize("asked", [asked for asked, _ in BESIDE.values() if asked], ids=[name for name in BESIDE if name != "nothing"])
def test_each_operation_finds_something_to_do_where_there_is_room(noise, asked):
    clean = (
        "I am watching the film because everyone is so happy, and you can't see a lot of people. "
        "We know the station, the trains and I think it's late! Please come, and thank you for waiting. Never mind the weather, it is good."
    )
    assert any(imitated(noise, clean, asked, seed).text != clean for seed in range(5))


def test_a_position_is_the_number_of_the_word_in_the_clean_text(noise):
    noisy = imitated(noise, "We met them and you.", {"ampersands": 1, "tail": "A", "head": "R"}, 0)
    assert [(done.kind, done.at) for done in noisy.operations] == [("and written as &", 3), ("retweet", 0), ("handle", 5)]


@settings(max_examples=80)
@given(sentence=st.text(max_size=200), seed=seeds)
def test_any_text_at_all_can_be_noised(noise, sentence, seed):
    noisy = noise.apply(sentence, random.Random(seed))
    assert noisy == noise.apply(sentence, random.Random(seed))
    assert "\n" not in noisy.text


@settings(max_examples=40)
@given(sentence=sentences, seed=seeds)
def test_a_whole_style_spares_numbers_and_negations_too(noise, sentence, seed):
    text = noise.apply(sentence, random.Random(seed)).text
    assert is_subsequence(re.findall(r"\d+(?:[.,]\d+)*", sentence), re.findall(r"\d+(?:[.,]\d+)*", text))
    assert is_subsequence(negations(sentence), negations(text))


def test_messy_and_careful_tweets_both_come_and_do_not_mix(noise):
    corpus = ["@sam omg we saw the museum in rome agian and it was grt"] * 60 + ["We saw the museum in Rome again, and it was great."] * 60
    mixed = Fitted(profile.fit(corpus, frequencies()).model_copy(update={"longest": 1000}))
    clean = "We saw the station in Oslo today, and it was fine."
    texts = [mixed.apply(clean, random.Random(seed)).text for seed in range(100)]
    addressed = [text for text in texts if "@" in text]
    assert 25 < len(addressed) < 75
    assert set(texts) - set(addressed) == {clean}
    assert not [text for text in addressed if text.endswith(".")], "who addresses somebody in this corpus closes with no full stop"


def test_a_corpus_with_a_limit_gives_texts_that_keep_it():
    short = Fitted(profile.fit([f"@sam{n} u like the {n} bus and train" for n in range(60)], frequencies()))
    texts = [short.apply("You like the bus and the train", random.Random(seed)).text for seed in range(50)]
    assert short.profile.longest == 34
    assert sum(len(text) <= short.profile.longest for text in texts) > 25
    assert all("@" in text for text in texts)
