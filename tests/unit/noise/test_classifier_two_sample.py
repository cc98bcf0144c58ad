"""The classifier two-sample test finds what differs and names it, finds nothing where nothing does, and looks at style alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from schemas.payloads import NoiseGaugeSpec
from workers.noise.fitting.dictionary import frequencies
from workers.noise.jobs import realism_report
from workers.noise.realism import two_sample
from workers.noise.realism.features import MEASURES, feature_values
from workers.noise.realism.two_sample import Sides, auc, compare

PLACES = ["Oslo", "Rome", "Paris", "Lima", "Cairo", "Delhi", "Quito", "Tokyo", "Perth", "Sofia"]
PAIRS = [
    (
        str(n),
        f"@sam the bus to {PLACES[n % 10]} is late again {n}" + (" #fail" if n % 3 == 0 else ""),
        f"The bus to {PLACES[n % 10]} is late again {n}.",
    )
    for n in range(120)
]


def of(text: str) -> dict[str, float]:
    return dict(zip(MEASURES, feature_values(text, frequencies()), strict=True))


@pytest.mark.parametrize(
    ("measure", "with_it", "without"),
    [
        ("hashtags_last", "We won #yes http://t.co/a", "We #won yes"),
        ("handles_first", "@a @b We won", "We won @a"),
        ("opens_small", "we won", "We won"),
        ("bare_contractions", "We dont", "We don't"),
        ("apostrophes", "We don't", "We dont"),
        ("unknown_small", "We beleive", "We believe"),
        ("no_vowel", "We thnk", "We think"),
        ("stretched", "sooo", "so"),
        ("two_blanks", "We won.  Yes", "We won. Yes"),
        ("no_blank_after_mark", "We won.Yes", "We won. Yes at 10.30"),
        ("blank_before_mark", "We won !", "We won!"),
        ("ends_stop", "We won.", "We won..."),
        ("entities", "You &amp; me", "You & me"),
        ("emoticon_last", "We won :)", "We :) won"),
        ("link_inside", "See http://t.co/a now", "See now http://t.co/a"),
        ("lone_numbers", "Going 2 win", "Going to win 2"),
    ],
)
def test_a_measure_is_what_its_words_say(measure, with_it, without):
    assert of(with_it)[measure] > of(without)[measure]


def test_two_texts_of_one_style_about_different_things_measure_the_same():
    assert of("@sam The bus to Rome is late again.") == of("@sam The jam in Lima is sour today.") | {
        "joints": of("@sam The bus to Rome is late again.")["joints"],
        "rare": of("@sam The bus to Rome is late again.")["rare"],
    }


@settings(max_examples=100)
@given(st.text(max_size=200))
def test_any_text_can_be_measured(text):
    values = feature_values(text, frequencies())
    assert len(values) == len(MEASURES)
    assert np.isfinite(values).all()


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30))
def test_the_area_is_the_chance_that_a_real_text_scores_higher(rows):
    real = [(score, times) for score, truth, times in rows if truth and times]
    synthetic = [(score, times) for score, truth, times in rows if not truth and times]
    if not real or not synthetic:
        return
    wins = sum((one > other) + (one == other) / 2 for one, n in real for other, m in synthetic for _ in range(n * m))
    expected = wins / (sum(n for _, n in real) * sum(m for _, m in synthetic))
    scores, truth, times = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = auc(scores, truth.astype(int), times)
    assert found == pytest.approx(expected)
    assert found == pytest.approx(roc_auc_score(truth, scores, sample_weight=times))


def sides(real: np.ndarray, synthetic: np.ndarray) -> Sides:
    return Sides(synthetic, real, np.arange(len(real)))


def table(seed: int, rows: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, len(MEASURES)))


def test_two_samples_of_one_kind_cannot_be_told_apart():
    figures = compare(sides(table(1), table(2)), 200, 0)["auc"]
    assert 0.42 < figures["value"] < 0.58
    assert 0.03 < figures["high"] - figures["low"] < 0.2
    assert figures["n"] == 400


def test_a_shifted_measure_is_found_named_and_told_with_its_direction():
    synthetic = table(2)
    synthetic[:, list(MEASURES).index("hashtags_last")] -= 2
    found = compare(sides(table(1), synthetic), 200, 0)
    assert found["auc"]["low"] > 0.85
    assert found["telltales"][0]["measure"] == "hashtags_last"
    assert found["telltales"][0]["says"].startswith("real has more hashtags at the end: ")


def test_copies_of_a_text_do_not_make_the_test_sure_of_what_it_has_seen_before():
    # Each row four times, and nothing else to tell the sides by than which row it is.
    real, synthetic = np.repeat(table(1, 60), 4, axis=0), np.repeat(table(2, 60), 4, axis=0)
    groups = np.repeat(np.arange(60), 4)
    together = compare(Sides(synthetic, real, groups), 100, 0)["auc"]["value"]
    apart = compare(sides(real, synthetic), 100, 0)["auc"]["value"]
    assert apart > 0.9
    assert together < 0.7


def test_the_same_seed_gives_the_same_figures():
    assert compare(sides(table(1), table(2)), 100, 3) == compare(sides(table(1), table(2)), 100, 3)


def test_a_report_ranks_a_noise_by_how_real_it_looks_and_tells_the_shares():
    def perfect(clean: str, rng: random.Random) -> str:
        number = int(clean.rstrip(".").split()[-1])
        return "@sam t" + clean[1:-1] + (" #fail" if (number + 1) % 3 == 0 else "")

    heard: list[str] = []
    found = realism_report(PAIRS, {"none": lambda clean, _: clean, "perfect": perfect}, NoiseGaugeSpec(resamples=100), heard.append)
    assert found["none"]["auc"]["value"] > 0.99
    assert found["perfect"]["auc"]["low"] < 0.6
    assert found["measures"]["handles"] == {"words": "handles", "real": 1.0, "none": 0.0, "perfect": 1.0}
    assert heard[0] == "none"
    assert heard.count("perfect") == two_sample.FOLDS + 1
