"""Which words of a rewritten tweet stand for which word of the tweet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.evaluation.lexnorm.word_alignment import TweetWord, spans, tweet_words

word_lists = st.lists(st.sampled_from(("i", "u", "you", "gonna", "going", "to", "lol", "laughing", "out", "loud", "may", "be", "maybe")))


def aligned(before: str, after: str) -> list[str]:
    return [" ".join(span) for span in spans(before.split(), after.split())]


class TestSpans:
    @pytest.mark.parametrize(
        ("before", "after", "stands_for"),
        [
            ("u r late", "you are late", ["you", "are", "late"]),
            ("im gonna go", "i'm going to go", ["i'm", "going to", "go"]),
            ("idk i know", "i don't know i know", ["i don't know", "i", "know"]),
            ("lol u", "laughing out loud you", ["laughing out loud", "you"]),
            ("roflmao no", "rolling on floor laughing my ass off no", ["rolling on floor laughing my ass off", "no"]),
            ("it may be so", "it maybe so", ["it", "maybe", "", "so"]),
            ("hey i am so late", "i am late", ["", "i", "am", "", "late"]),
            ("late", "i am very late", ["i am very late"]),
            ("we go", "we go home", ["we", "go home"]),
            ("gone", "", [""]),
        ],
    )
    def test_a_word_gets_the_words_that_stand_for_it(self, before: str, after: str, stands_for: list[str]) -> None:
        assert aligned(before, after) == stands_for

    @given(word_lists)
    def test_words_that_are_the_same_stand_for_themselves(self, same: list[str]) -> None:
        assert spans(same, same) == [(word,) for word in same]

    @given(word_lists, word_lists)
    def test_every_word_after_stands_for_exactly_one_before_in_order(self, before: list[str], after: list[str]) -> None:
        found = spans(before, after)

        assert len(found) == len(before)
        if before:
            assert [word for span in found for word in span] == after


class TestWords:
    def test_case_marks_links_emoji_and_emoticons_are_no_words(self) -> None:
        assert [word.text for word in tweet_words("SO Late... :D https://t.co/x 😀 “ok”!!")] == ["so", "late", "ok"]

    def test_what_stands_inside_a_word_keeps_it_whole(self) -> None:
        assert [word.text for word in tweet_words("don’t b/c e-mail f*ck 1.5 at 10:30,then&go & stop.Now")] == (
            ["don't", "b/c", "e-mail", "f*ck", "1.5", "at", "10:30", "then&go", "and", "stop", "now"]
        )

    def test_handles_and_hashtags_are_words_that_are_not_scored(self) -> None:
        assert tweet_words("@Dan so #Late") == [TweetWord("dan", scored=False), TweetWord("so"), TweetWord("late", scored=False)]
