"""The guard prices what readers object to, asks again only where it must, and says what it did."""

from __future__ import annotations

import pytest

from schemas.payloads import Stage
from tests.support.scripted_engine import ScriptedEngine
from workers.inference.guard import check, guarded, unguarded
from workers.text.constraints import meets_constraints

TWEET = "cant believe @BlueJet cancelled my flite AGAIN!!! 3rd time this month smh #fail http://t.co/x"
GOOD = "BlueJet cancelled my flite again, 3rd time this month."


@pytest.mark.parametrize(
    ("tweet", "output"),
    [
        (TWEET, GOOD),
        (TWEET, "I can't believe BlueJet cancelled my flite again."),
        ("are u gonna b at the partyyy by the lake 2nite??", "You are going to be at the party tonight?"),
        ("ty @anonymous 4 the cookies, kids ate all 12 in like 2 mins haha", "Thanks for the cookies, the kids ate all 12 in 2 minutes."),
        ("im soooo tired of #MondayMornings", "I'm so tired of Monday mornings."),
        ("we shldnt worry, its definately over", "It's definitely over."),
        ("she wasnt there but her brother was", "Her brother was there."),
        ("does any1 know a good plumber in Leeds", "Does anyone know a good plumber in Leeds?"),
        ("what r u waiting 4? the U.S. team is running", "The US team is running."),
    ],
)
def test_nothing_speaks_against_a_faithful_summary(tweet: str, output: str) -> None:
    assert check(tweet, output) == check(tweet, output)
    assert check(tweet, output).cost == 0, check(tweet, output).flags


@pytest.mark.parametrize(
    ("tweet", "output", "flag", "cost"),
    [
        (TWEET, GOOD.rstrip("."), "promise", 10),
        (TWEET, "BlueJet cancelled my flite again, 4th time this month.", "new_number", 5),
        (TWEET, "BlueJet cancelled my flite to Boston again.", "new_name", 5),
        (TWEET, "BlueJet cancelled my flite again, horrible.", "new_word", 2),
        (TWEET, "BlueJet cancelled my flite but not this month.", "negation", 3),
        ("I do not like soup", "I like soup.", "negation", 3),
        ("is the bus late today?", "The bus is late today.", "question", 3),
        ("the bus is late today :(", "Is the bus late today?", "question", 3),
        ("it might rain on the parade", "It rains on the parade.", "hedge", 2),
        ("will you come to the parade with us", "You come to the parade.", "hedge", 2),
        ("we went to the parade in the rain", "We went to the parade in the.", "fragment", 3),
        ("my parade was ruined by rain", "Your parade was ruined by rain.", "person", 2),
        ("Ann beat Bob in the final", "Bob beat Ann in the final.", "order", 2),
    ],
)
def test_each_thing_that_readers_object_to_has_its_price(tweet: str, output: str, flag: str, cost: float) -> None:
    verdict = check(tweet, output)
    assert verdict.flags == (flag,)
    assert verdict.cost == cost


def test_who_and_whom_swapped_is_noticed_and_leaving_words_out_is_not() -> None:
    tweet = "my sister told the doctor that grandma fell"
    assert check(tweet, "The doctor told my sister that grandma fell.").flags == ("order",)
    assert check(tweet, "My sister told the doctor.").flags == ()
    assert check(tweet, "Grandma fell.").flags == ()


def test_a_repeated_word_is_priced_once() -> None:
    # The second of two stands after words that the tweet has behind its only one: that is repetition, not another order.
    verdict = check(TWEET, "BlueJet cancelled my flite and cancelled again.")
    assert (verdict.flags, verdict.cost) == (("repetition",), 3)


def test_two_sentences_run_together_are_noticed_and_two_that_are_joined_are_not() -> None:
    tweet = "we won in Leeds tonight. now the bus home is late"
    assert check(tweet, "We won in Leeds the bus home is late.").flags == ("fused",)
    assert check(tweet, "We won in Leeds, the bus home is late.").cost == 0
    assert check(tweet, "We won in Leeds and the bus home is late.").cost == 0
    assert check(tweet, "The bus home is late.").cost == 0


def test_a_tweet_of_a_few_words_is_not_padded() -> None:
    assert check("so very tired today :( :( :(", "So very tired today.").cost == 0
    padded = check("so very tired today :( :( :(", "I am so very tired.")
    assert (padded.flags, padded.cost) == (("padding",), 2), "one a word, small words too"
    assert check("so very tired of the rain today", "I am so tired of the rain.").cost == 0, "a longer one may be completed"


def test_a_word_written_twice_in_a_row_is_a_repetition_though_it_is_a_small_one() -> None:
    verdict = check("the bus is late again", "The the bus is late.")
    assert (verdict.flags, verdict.cost) == (("repetition",), 3)
    assert check("so so tired of the rain", "So so tired of the rain.").cost == 0


def test_every_instance_counts() -> None:
    assert check(TWEET, "BlueJet cancelled my flite to Boston, Chicago and Denver.").cost == 15


def test_the_clean_stage_may_have_sentences_but_no_noise() -> None:
    clean = "I can't believe BlueJet cancelled my flite again. It is the 3rd time this month."
    assert check(TWEET, clean, Stage.CLEAN).cost == 0
    assert check(TWEET, clean + " :)", Stage.CLEAN).flags == ("promise",)
    assert check(TWEET, "", Stage.CLEAN).flags == ("promise",)


def test_a_good_greedy_text_is_taken_without_a_second_look() -> None:
    engine = ScriptedEngine({"the bus is late again": ("The bus is late again.",)})
    (row,) = guarded(engine, ["the bus is late again #fail"])
    assert (row.text, row.flags, row.tries) == ("The bus is late again.", (), 1)
    assert [count for count, _ in engine.calls] == [1, 0]


def test_only_doubtful_rows_are_written_again_and_the_cheapest_beam_is_taken() -> None:
    engine = ScriptedEngine(
        {
            "the bus is late again": ("The bus is late again.",),
            "my train left at 5pm": ("My train left at 6.", "My train departed at 5pm.", "My train left at 5pm.", "The train left at 5pm."),
        }
    )
    steps: list[int] = []
    kept, mended = guarded(engine, ["the bus is late again", "my train left at 5pm"], on_progress=steps.append)
    assert kept.tries == 1
    assert mended.text == "My train left at 5pm.", "of equally cheap beams the likelier one"
    assert (mended.flags, mended.tries, mended.greedy) == ((), 2, "My train left at 6.")
    assert (mended.tokens_in, mended.tokens_out) == (20, 25)
    assert engine.calls[1][0] == 1
    assert engine.calls[1][1].num_return_sequences == 4
    assert sum(steps) == 2


def test_a_lesser_fault_is_kept_with_its_flag() -> None:
    engine = ScriptedEngine({"my train left at 5pm": ("My train departed at 5pm.",)})
    (row,) = guarded(engine, ["my train left at 5pm"])
    assert (row.text, row.flags) == ("My train departed at 5pm.", ("new_word",))


def test_where_every_beam_is_poor_the_opening_of_the_tweet_stands_in_and_says_so() -> None:
    tweet = "my train left at 5pm sharp, and i was still running up the stairs with three bags and a cat lol"
    engine = ScriptedEngine({tweet: ("Anna left Boston.", "Anna left Chicago.")})
    (row,) = guarded(engine, [tweet])
    assert row.text == "My train left at 5pm sharp."
    assert row.flags[0] == "fallback"
    assert "new_name" in row.flags
    assert meets_constraints(tweet, row.text)
    assert row.greedy == "Anna left Boston."


def test_a_prompt_without_answer_falls_back_too() -> None:
    engine = ScriptedEngine({"the bus is late": ()})
    (row,) = guarded(engine, ["the bus is late"])
    assert (row.text, row.flags) == ("The bus is late.", ("fallback", "no_answer"))


def test_a_tweet_without_a_word_is_not_asked_about() -> None:
    engine = ScriptedEngine({"the bus is late": ("The bus is late.",)})
    wordless, worded = guarded(engine, ["@anonymous :) http://t.co/x", "the bus is late"])
    assert (wordless.text, wordless.flags, wordless.tries) == ("", ("wordless",), 0)
    assert worded.text == "The bus is late."
    assert engine.calls[0][0] == 1


def test_unguarded_flags_and_changes_nothing() -> None:
    engine = ScriptedEngine({"my train left at 5pm": ("My train left Boston.",), "the bus is late": ()})
    poor, none = unguarded(engine, ["my train left at 5pm", "the bus is late"])
    assert (poor.text, poor.flags, poor.tries) == ("My train left Boston.", ("new_name",), 1)
    assert (none.text, none.flags) == ("", ("no_answer",))
    assert len(engine.calls) == 1


def test_the_fallback_of_the_clean_stage_is_the_whole_cleaned_tweet() -> None:
    engine = ScriptedEngine({"the bus is late. my train left :(": ("Anna left Boston.",)})
    (row,) = guarded(engine, ["the bus is late. my train left :("], stage=Stage.CLEAN)
    assert row.text == "The bus is late. My train left."
