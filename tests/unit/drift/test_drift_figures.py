"""Figures of drift: what is chance is not drift however many are compared, what is plain is, and a small difference is none."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from workers.drift.figures import Figure, judged, of_means, of_shares, says
from workers.drift.inputs import Incoming
from workers.drift.measures import unknown_shares
from workers.drift.sample import choose

MEASURES = 42


def test_a_share_has_the_interval_of_newcombes_paper() -> None:
    figure = of_shares("x", "x", 56, 70, 48, 80)

    # Newcombe 1998, table II, (a), method 10
    assert (round(figure.low, 4), round(figure.high, 4)) == (0.0524, 0.3339)
    assert figure.value - figure.baseline == pytest.approx(0.2)


def test_a_mean_has_welchs_interval() -> None:
    rng = np.random.default_rng(0)
    figure = of_means("x", "x", rng.normal(1.0, 1.0, 4000), rng.normal(0.0, 2.0, 4000))

    half = NormalDist().inv_cdf(0.975) * np.sqrt(1 / 4000 + 4 / 4000)
    assert figure.high - figure.low == pytest.approx(2 * half, rel=0.03)
    assert figure.low < 1.0 < figure.high
    assert figure.effect == pytest.approx(1 / np.sqrt(2.5), abs=0.05)


def test_values_that_never_differ_are_no_drift_unless_they_are_others() -> None:
    same, other = np.zeros(200), np.ones(200)
    assert not judged([of_means("x", "x", same, same)])[0].drifted
    assert judged([of_means("x", "x", other, same)])[0].drifted


def test_of_many_figures_in_which_nothing_drifted_one_says_so_in_at_most_5_percent_of_looks() -> None:
    def false_alarm(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        rates = rng.uniform(0.02, 0.5, MEASURES)
        ours, theirs = rng.binomial(150, rates), rng.binomial(150, rates)
        return any(figure.drifted for figure in judged([of_shares("x", "x", int(a), 150, int(b), 150) for a, b in zip(ours, theirs)]))  # noqa: B905

    assert np.mean([false_alarm(seed) for seed in range(100)]) <= 0.08


def test_without_the_correction_there_would_be_many_alarms() -> None:
    rng = np.random.default_rng(1)
    drawn = [of_shares("x", "x", int(a), 150, int(b), 150) for a, b in zip(*rng.binomial(150, 0.2, (2, 500)), strict=True)]
    assert sum(figure.p < 0.05 for figure in drawn) > 5
    assert not any(figure.drifted for figure in judged(drawn))


def test_a_difference_that_is_sure_and_small_is_no_drift() -> None:
    sure = of_shares("x", "x", 52_000, 100_000, 50_000, 100_000)
    assert sure.p < 1e-10
    assert not judged([sure])[0].drifted
    assert judged([of_shares("x", "x", 60_000, 100_000, 30_000, 100_000)])[0].drifted


def test_a_sentence_says_what_it_is_now_and_what_it_was() -> None:
    assert says(of_shares("emoji", "emoji", 30, 100, 1, 10)) == "emoji: 30.0%, it was 10.0%"
    assert says(Figure("words", "words", False, 12.34, 9, 8.0, 9, 0, 0, 0, 0)) == "words: 12.3 a text, it was 8.0"


def test_a_training_text_does_not_know_its_own_words() -> None:
    ours, theirs = unknown_shares(["the bus is late", "@ann http://t.co/x Zebras!"], ["the bus is here", "the tram is late"])

    assert ours == [0.0, 1.0]
    assert theirs == [pytest.approx(2 / 4), pytest.approx(2 / 4)]


class TestSample:
    TWEETS = (
        *(
            Incoming(f"long-{n}", f"a very long tweet about number {n} of many things that people do all day {'x' * n}", False)
            for n in range(5)
        ),
        *(Incoming(f"twin-{n}", "the very same words again and again in each of them!", False) for n in range(5)),
        *(Incoming(f"plain-{n}", f"plain tweet {n} that is like all others", False) for n in range(5)),
        Incoming("paired", "somebody wrote a pair for this one", True),
    )
    MEASURED = np.array([[9.0, 0.0]] * 5 + [[0.0, 8.0]] * 5 + [[0.0, 0.0]] * 5 + [[9.0, 9.0]])
    LEARNT = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])

    def chosen(self, size: int, seed: int = 0) -> list[tuple[str, str]]:
        found = choose(self.TWEETS, self.MEASURED, self.LEARNT, ("length", "emoji"), (0, 1), size, seed)
        return [(each.tweet, each.because) for each in found]

    def test_each_way_to_differ_has_its_turn_and_of_equal_tweets_there_is_one(self) -> None:
        first = self.chosen(4)
        assert [because for _, because in first[:2]] in (["length", "emoji"], ["emoji", "length"])
        assert sum(tweet.startswith("twin") for tweet, _ in self.chosen(16)) == 1

    def test_what_has_a_pair_already_is_left_out(self) -> None:
        assert "paired" not in dict(self.chosen(16))

    def test_the_same_seed_draws_the_same(self) -> None:
        assert self.chosen(3, seed=4) == self.chosen(3, seed=4)
        assert {tuple(self.chosen(2, seed=seed)) for seed in range(8)} != {tuple(self.chosen(2))}

    def test_no_more_are_chosen_than_there_are(self) -> None:
        assert len(self.chosen(1000)) == 11
