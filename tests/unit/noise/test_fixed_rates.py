"""Noise is seeded, says what it did, and leaves numbers and negations alone."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.noise.fitting.keyboards import KEYBOARDS, NEIGHBOURS
from workers.noise.fitting.rates import NoiseRates
from workers.noise.fitting.slang import SLANG
from workers.noise.operations import fixed_rates
from workers.noise.operations.draft import is_negation

SHARES = [name for name, field in NoiseRates.model_fields.items() if field.annotation is float]
SILENT = NoiseRates.model_validate({**dict.fromkeys(SHARES, 0.0), "slang": {}})
ONE_SPELLING = {phrase: {forms[0]: 1.0} for phrase, forms in SLANG.items()}
LOUD = NoiseRates.model_validate({**dict.fromkeys(SHARES, 0.6), "slang": {phrase: {forms[0]: 0.6} for phrase, forms in SLANG.items()}})

WORDS = re.split(
    " ",
    "I I'm am having you going to want to because the flight Monday JetBlue New York London really so please love don't can't not no "
    "never cannot nobody nothing without 3 12.50 $5.1 20% 1,000 3rd 5pm 2014 B-52 7-1 three hundred people weekend, tomorrow. great! "
    "why? (maybe) it's they’re won’t isn't neither nor #tag @who http://t.co/x Café naïve",
)
sentences = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)
seeds = st.integers(0, 2**32)


def only(**rates: object) -> NoiseRates:
    return SILENT.model_copy(update=rates)


def noised(sentence: str, rates: NoiseRates, seed: int = 0) -> fixed_rates.Noisy:
    return fixed_rates.apply(sentence, rates, random.Random(seed))


def is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(item in rest for item in part)


def negations(text: str) -> list[str]:
    """Negations, with n't as nt so that a dropped apostrophe does not matter."""
    bare = [re.sub(r"[^\w]", "", word.lower()) for word in text.split()]
    contracted = {re.sub(r"[^\w]", "", word.lower()) for word in WORDS if is_negation(word)}
    return [word for word in bare if word in contracted]


EVERY_OPERATION = [only(**{name: 1.0}) for name in SHARES] + [only(slang=ONE_SPELLING), LOUD, NoiseRates()]


@pytest.mark.parametrize("rates", EVERY_OPERATION, ids=[*SHARES, "slang", "loud", "default"])
@settings(max_examples=60)
@given(sentence=sentences, seed=seeds)
def test_each_operation_is_seeded_and_spares_numbers_and_negations(rates, sentence, seed):
    noisy = noised(sentence, rates, seed)
    assert noisy == noised(sentence, rates, seed)
    assert is_subsequence(re.findall(r"\d+(?:[.,]\d+)*", sentence), re.findall(r"\d+(?:[.,]\d+)*", noisy.text))
    assert is_subsequence(negations(sentence), negations(noisy.text))
    assert (noisy.operations == ()) == (noisy.text == " ".join(sentence.split()))
    assert all(operation.at is None or 0 <= operation.at <= len(sentence.split()) for operation in noisy.operations)


@given(sentence=st.text(max_size=200), seed=seeds)
def test_any_text_at_all_can_be_noised(sentence, seed):
    noisy = noised(sentence, LOUD, seed)
    assert "\n" not in noisy.text
    assert noised(sentence, SILENT, seed).text == " ".join(sentence.split())


@given(sentence=sentences, seed=seeds)
def test_names_and_words_for_numbers_are_never_misspelt(sentence, seed):
    rates = only(typo=1.0, elongated_word=1.0, slang=ONE_SPELLING)
    kept = [word for word in re.findall(r"[\w-]+", sentence) if word in ("three", "hundred", "B-52")]
    assert is_subsequence(kept, re.findall(r"[\w-]+", noised(sentence, rates, seed).text))
    assert noised(f"Then {sentence}", only(typo=1.0), seed).text.count("JetBlue") == sentence.count("JetBlue")


@pytest.mark.parametrize(
    ("rates", "sentence", "text", "operation"),
    [
        (only(dropped_subject=1.0), "I am having a day.", "Having a day.", "subject dropped"),
        (only(dropped_subject=1.0), "I'm heading home.", "Heading home.", "subject dropped"),
        (only(slang={"going to": {"gonna": 1.0}}), "We are going to win.", "We are gonna win.", "slang"),
        (only(slang={"you": {"u": 1.0}}), "You know you can.", "U know u can.", "slang"),
        (only(dropped_apostrophe=1.0), "I can't, it’s late.", "I cant, its late.", "apostrophe dropped"),
        (only(no_final_punctuation=1.0), "We won.", "We won", "punctuation dropped"),
        (only(lowercase=1.0), "We won in York.", "we won in york.", "all small"),
        (only(uppercase=1.0), "We won.", "WE WON.", "all capitals"),
        (only(lowercase_start=1.0), "We won in York.", "we won in York.", "small opening"),
        (only(lowercase_i=1.0), "Yes I think I'm in.", "Yes i think i'm in.", "small i"),
        (only(caps_word=1.0), "We won that game.", "We won that GAME.", "shouted word"),
        (only(hashtag_inline=1.0), "We are in New Zealand.", "We are in #NewZealand.", "hashtag in place"),
        (only(hashtag_inline=1.0), "We like the Premier League.", "We like the #PremierLeague.", "hashtag in place"),
        (only(leading_handle=1.0, handle_mask="@user"), "We won.", "@user We won.", "handles"),
        (only(link=1.0, link_mask="http://url"), "We won.", "We won. http://url", "link"),
    ],
)
def test_an_operation_does_what_its_name_says(rates, sentence, text, operation):
    for seed in range(8):
        noisy = noised(sentence, rates, seed)
        if noisy.operations:
            assert noisy.text == text
            assert {done.kind for done in noisy.operations} == {operation}
            return
    raise AssertionError("the operation never came")


@pytest.mark.parametrize(
    ("rates", "pattern"),
    [
        (only(typo=1.0), r"We \w{2,9} \w{3,9} \w{3,10} \w{3,9}\."),
        (only(elongated_word=1.0), r"We .*(\w)\1\1.*"),
        (only(repeated_punctuation=1.0), r"We never .*(!!+|\.\.+)"),
        (only(hashtag_trailing=1.0), r"We never .*\.( #\w+){1,3}"),
        (only(retweet=1.0), r"RT @\w+:? We never .*"),
        (only(filler=1.0), r"(\w+ )?We never .*\.( \w+)?"),
        (only(emoji=1.0), r"We never .*\. [^\w\s]+"),
        (only(emoticon=1.0), r"We never .*\. \S{2,3}"),
        (only(leading_handle=1.0, further_handle=1.0), r"(@\w+ ){4}We never .*"),
    ],
)
def test_an_added_mark_has_the_form_it_has_on_twitter(rates, pattern):
    sentence = "We really expected nothing better." if rates.typo else "We never found those good shoes."
    noisy = noised("We found those green shoes." if rates.typo else sentence, rates)
    assert noisy.operations
    assert re.fullmatch(pattern, noisy.text)


def test_an_abbreviation_ends_no_sentence():
    noisy = noised("I saw Shark vs. Octopus with Dr. Lee and left.", only(no_final_punctuation=1.0, lowercase_i=1.0), 4)
    assert "vs. Octopus with Dr. Lee" in noisy.text


def test_no_slang_entry_holds_a_negation():
    assert not [word for phrase in SLANG for word in phrase.split() if is_negation(word)]
    assert not [form for forms in SLANG.values() for form in forms if is_negation(form)]


def test_keys_are_neighbours_of_their_neighbours():
    assert set(NEIGHBOURS["s"]) == set("qweadzx") - {"q"} | {"z", "x"}
    assert (set(KEYBOARDS["qwertz"]["q"]), set(KEYBOARDS["azerty"]["q"])) == (set("wa"), set("azsw"))
    for near in KEYBOARDS.values():
        assert all(key in near[other] for key, others in near.items() for other in others)
