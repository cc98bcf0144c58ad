"""ERR: what it counts, what it is worth, and how the dictionary that a model must beat is learnt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.evaluation.lexnorm.error_reduction import (
    Gold,
    count_errors,
    counts_of_dictionaries,
    most_frequent,
    most_frequent_of_the_others,
)

MESSY = ("u r late", "im gonna go lol", "the bus is here")
CLEAN = ("you are late", "i'm going to go laughing out loud", "the bus is here")
GOLD = [Gold.of(messy, clean) for messy, clean in zip(MESSY, CLEAN, strict=True)]


def err(*outputs: str) -> float:
    return count_errors(GOLD, outputs).err(resamples=100).value


class TestErr:
    def test_leaving_all_as_it_is_gives_0_and_the_gold_gives_1(self) -> None:
        assert err(*MESSY) == 0
        assert err(*CLEAN) == 1

    def test_is_what_is_corrected_less_what_is_spoiled_over_what_needs_it(self) -> None:
        # u, r, im, gonna and lol need it: two are corrected, one word that was right is spoiled.
        assert err("you are here", MESSY[1], MESSY[2]) == pytest.approx((2 - 1) / 5)

    def test_a_wrong_replacement_of_a_word_that_needed_one_is_only_missed(self) -> None:
        assert err("yoo r late", *MESSY[1:]) == 0

    def test_a_word_that_is_dropped_or_added_is_spoiled(self) -> None:
        assert err(*MESSY[:2], "the bus here") == pytest.approx(-1 / 5)
        assert err(*MESSY[:2], "the big bus is here") == pytest.approx(-1 / 5)

    def test_equals_the_accuracy_over_words_scaled_between_leaving_as_is_and_perfect(self) -> None:
        outputs = ("you are here", "i'm going to go lol", "a bus is here")
        words = sum(len(row.words) for row in GOLD)
        counted = count_errors(GOLD, outputs)
        needing = counted.needing.sum()
        as_is = (words - needing) / words
        accuracy = (counted.corrected.sum() + words - needing - counted.spoiled.sum()) / words

        assert counted.err(resamples=100).value == pytest.approx((accuracy - as_is) / (1 - as_is))

    def test_case_marks_handles_hashtags_links_and_emoji_may_change(self) -> None:
        assert err("You are late.", "I'm going to go. Laughing out loud!", "The bus is here.") == 1
        gold = [Gold.of("@Dan u r late #fail http://t.co/x 😀", "@Dan you are late #fail http://t.co/x 😀")]
        assert count_errors(gold, ["You are late."]).err(resamples=100).value == 1
        assert count_errors(gold, ["Dan, you are late. Fail"]).err(resamples=100).value == 1

    def test_the_interval_is_over_tweets_and_the_margin_is_paired(self) -> None:
        gold = [Gold.of("u go", "you go")] * 50
        half = count_errors(gold, ["you go", "u go"] * 25)
        figure = half.err()
        assert (figure.value, figure.n) == (0.5, 50)
        assert 0.3 < figure.low < 0.45 < 0.55 < figure.high < 0.7
        assert half.err_above(half).as_dict() == {"value": 0, "low": 0, "high": 0, "n": 50}
        assert half.err_above(count_errors(gold, ["u go"] * 50)).value == 0.5

    def test_is_refused_where_no_word_needs_normalisation(self) -> None:
        gold = [Gold.of("all is well", "All is well.")]
        with pytest.raises(ValueError, match="nothing to take a share of"):
            count_errors(gold, ["all is well"]).err()

    @given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), min_size=1, max_size=5))
    def test_the_gold_is_never_wrong_and_the_tweet_never_spoiled(self, rows: list[tuple[str, str]]) -> None:
        gold = [Gold.of(messy, clean) for messy, clean in rows]
        perfect, untouched = count_errors(gold, [clean for _, clean in rows]), count_errors(gold, [messy for messy, _ in rows])
        assert (perfect.corrected == perfect.needing).all()
        assert not perfect.spoiled.any()
        assert not untouched.spoiled.any()
        assert not untouched.corrected.any()


class TestMostFrequent:
    def test_is_what_a_word_most_often_became(self) -> None:
        learnt = most_frequent([Gold.of("ur late ur", "your late you're"), Gold.of("ur", "your"), Gold.of("lol", "laughing out loud")])
        assert learnt == {"ur": ("your",), "lol": ("laughing", "out", "loud")}

    def test_a_word_that_is_as_often_left_alone_is_left_alone(self) -> None:
        assert most_frequent([Gold.of("n", "and"), Gold.of("n", "n")]) == {}

    def test_handles_and_hashtags_are_not_learnt(self) -> None:
        assert most_frequent([Gold.of("@u #u", "you you")]) == {}

    def test_replaces_word_by_word(self) -> None:
        counted = counts_of_dictionaries(GOLD, [{"u": ("you",), "bus": ("coach",)}] * 3)
        assert (list(counted.corrected), list(counted.spoiled)) == ([1, 0, 0], [0, 0, 1])

    def test_no_tweet_teaches_its_own_dictionary_not_even_through_its_equal(self) -> None:
        gold = [Gold.of(f"w{number} u", f"word{number} you") for number in range(60)] * 2

        dictionaries = most_frequent_of_the_others(gold)

        assert not any(f"w{number % 60}" in dictionary for number, dictionary in enumerate(dictionaries))
        assert all(dictionary["u"] == ("you",) for dictionary in dictionaries)

    def test_the_folds_follow_the_seed_and_not_the_order(self) -> None:
        gold = [Gold.of(f"w{number} u", f"word{number} you") for number in range(60)]
        assert most_frequent_of_the_others(gold)[::-1] == most_frequent_of_the_others(gold[::-1])
        assert most_frequent_of_the_others(gold, seed=1) != most_frequent_of_the_others(gold)
