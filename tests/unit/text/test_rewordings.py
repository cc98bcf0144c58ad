"""The word checks let a good rewording pass, and find what it would have had to change to be wrong."""

from __future__ import annotations

import pytest

from schemas.payloads import Stage
from workers.text.checks import check


def flags(tweet: str, output: str, stage: Stage = Stage.SUMMARY) -> tuple[str, ...]:
    return check(tweet, output, stage).flags


class TestOrder:
    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("last night the old pier in Corrin finally burned down", "The old pier in Corrin burned down last night."),
            ('"we fix every boat by hand" - Otto Brandt, harbor master', "Otto Brandt says we fix every boat by hand."),
            ("Now playing: The Wet Otters - Tin Lanterns (live)", "Tin Lanterns by The Wet Otters is now playing."),
            ("my aunt gave the choir her piano", "My aunt gave her piano to the choir."),
            ("although the ferry was late the crew was kind to everyone", "The crew was kind although the ferry was late."),
            ("Hawks beat Rovers in Corrin again", "Rovers were beaten by Hawks again."),
        ],
    )
    def test_what_is_moved_whole_is_no_swap(self, tweet: str, output: str) -> None:
        assert "order" not in flags(tweet, output)

    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("Hawks beat the mighty Rovers in Corrin", "Rovers beat Hawks in Corrin."),
            ("Anna told Otto the news today", "Otto told Anna the news today."),
            ("the ferry from Corrin to Dunmore is late", "The ferry from Dunmore to Corrin is late."),
            ("this piano is older than grandpa", "Grandpa is older than this piano."),
            ("3 calls and now they want 40 bucks", "40 calls and they want 3 bucks."),
            ("3 dead, 20 injured in the storm", "20 dead, 3 injured in the storm."),
        ],
    )
    def test_who_and_whom_swapped_is_found(self, tweet: str, output: str) -> None:
        assert "order" in flags(tweet, output)


class TestRunOn:
    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("Grandma left Corrin in 61. Ran a bakery. Yesterday at 84 she voted", "Yesterday at 84 grandma voted."),
            ("the printer died 6 times today. six. my boss laughed", "The printer died six times today."),
            ("Third night in the dark. no power at all", "It is the third night without power in the dark."),
            ("Rain all week. That means mud for the horses", "Rain all week means mud for the horses."),
            ("the city (finally!!) fixed our swings. took a year", "The city finally fixed our swings after a year."),
        ],
    )
    def test_what_is_joined_by_more_than_a_conjunction_is_no_run_on(self, tweet: str, output: str) -> None:
        assert "fused" not in flags(tweet, output)

    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("The ferry is late again. My phone died at noon.", "The ferry is late again my phone died."),
            ("Otto painted the kitchen. Anna baked two cakes.", "Otto painted the kitchen Anna baked two cakes."),
            ("They closed our pool. I'm furious.", "They closed our pool I'm furious."),
        ],
    )
    def test_two_sentences_with_nothing_between_them_are_found(self, tweet: str, output: str) -> None:
        assert "fused" in flags(tweet, output)


class TestNewWords:
    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("chem final tmrw in the new bldg, ch 4 only", "The chemistry final tomorrow in the new building is on chapter 4."),
            ("pkg was sposed to be here every am", "The package was supposed to be here every morning."),
            ("rsvn gone, pmt pending, no cam footage", "My reservation is gone, payment pending, no camera footage."),
            ("they strtd boarding at 6", "They started boarding at 6."),
            ("wind NW today, see p. 41", "Wind northwest today, see page 41."),
            ("the vet: our goat is fine", "The vet says our goat is fine."),
            ("purchased a boat today, awesome", "I bought a great boat today."),
        ],
    )
    def test_abbreviations_carriers_and_synonyms_are_no_new_words(self, tweet: str, output: str) -> None:
        assert "new_word" not in check(tweet, output, Stage.CLEAN).flags

    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("the vet: our goat is fine", "The vet says our goat is pregnant."),
            ("chem final tmrw", "Final hockey tomorrow."),
            ("purchased a boat today", "I sold a boat today."),
            ("the staff was friendly", "The staff was hostile."),
        ],
    )
    def test_other_content_is_one(self, tweet: str, output: str) -> None:
        assert "new_word" in check(tweet, output, Stage.CLEAN).flags

    def test_mount_come_on_and_a_people_are_no_new_names_and_another_country_is_one(self) -> None:
        assert "new_name" not in flags("Goat found alive on Mt Isker near the St of Turkey", "Goat found alive on Mount Isker.")
        assert "new_name" not in check("cmon Rovers", "Come on, Rovers.", Stage.CLEAN).flags
        assert "new_name" not in flags("army base in Turkey closed", "A Turkish army base closed.")
        assert "new_name" in flags("army base in Turkey closed", "A German army base closed.")


class TestQuestions:
    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("whos feeding the goats at 6 tonight", "Who's feeding the goats at 6 tonight?"),
            ("ok but who put a goat on the roof", "Who put a goat on the roof?"),
            ("so if it rains do they still play or", "If it rains, do they still play?"),
            ("the soup is great but the service?? 50 min for bread", "The soup is great, but bread took 50 min."),
            ("Cutting lunches to buy horses?? No. we were promised more", "We were not promised cutting lunches to buy horses."),
        ],
    )
    def test_what_may_ask_may_be_asked_and_what_answers_itself_may_be_said(self, tweet: str, output: str) -> None:
        assert "question" not in flags(tweet, output)

    def test_a_question_before_a_statement_is_kept_at_the_stage_clean(self) -> None:
        clean = "Is the pool at Kerr Park open yet? The site still says May."
        assert check("is the pool at Kerr Park open yet? site still says may", clean, Stage.CLEAN).flags == ()

    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("Do they refund old tickets?", "They refund old tickets."),
            ("Corrin is the worst harbor of all", "Is Corrin the worst harbor of all?"),
            ("does anyone know if the pool is open? need a swim", "The pool is open."),
        ],
    )
    def test_a_question_turned_is_found(self, tweet: str, output: str) -> None:
        assert "question" in flags(tweet, output)


class TestHedges:
    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("just my bank wishing me a happy birthday at 30", "My bank wished me a happy birthday."),
            ("their service (if you can call it that) fixed my boiler", "Their service fixed my boiler."),
            ("snow in april and i should be mad but the dog is happy", "There is snow in April but the dog is happy."),
        ],
    )
    def test_a_wish_and_a_remark_are_no_doubt(self, tweet: str, output: str) -> None:
        assert "hedge" not in flags(tweet, output)

    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("it might rain on the fair tomorrow", "It rains on the fair tomorrow."),
            ("i think the mayor lied to us", "The mayor lied to us."),
            ("hopefully Rovers win tonight", "Rovers win tonight."),
        ],
    )
    def test_a_doubt_that_is_lost_is_found(self, tweet: str, output: str) -> None:
        assert "hedge" in flags(tweet, output)


class TestNegations:
    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("we were out of milk so it was cereal", "It was cereal without milk."),
            ("9 emails, 0 replies", "9 emails, no replies."),
            ("i should be mad but i cant be", "I can't be mad."),
            ("bus 0 was late again", "The bus was late again."),
            ("idk who did that", "I don't know who did that."),
            ("Nobody here speaks Dutch but every1 brings cake", "Nobody here speaks Dutch, but everyone brings cake."),
        ],
    )
    def test_a_denial_in_other_words_passes(self, tweet: str, output: str) -> None:
        assert "negation" not in flags(tweet, output)

    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("we were out of milk again", "We had milk again."),
            ("9 emails, 0 replies", "9 emails and replies."),
            ("the bus is out of town", "The bus is not in town."),
        ],
    )
    def test_a_denial_lost_or_added_is_found(self, tweet: str, output: str) -> None:
        assert "negation" in flags(tweet, output)


class TestRepetitions:
    def test_what_the_tweet_says_twice_in_two_spellings_may_be_said_twice(self) -> None:
        assert flags("called them 5x today, got 5 diff answers lol", "I called five times and got five different answers.") == ()
        assert flags("2 left boots from @BootShed, size 7, lol", "Boot Shed sent two left boots.") == ()

    def test_a_word_more_often_than_in_any_spelling_is_found(self) -> None:
        assert "repetition" in flags("called them 5x about the fee today", "The fee of five is a fee of five.")


class TestSubjects:
    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("told the kids a story and fell asleep", "I told the kids a story and fell asleep."),
            ("love this quiet harbor so much", "I love this quiet harbor."),
            ("last night met the mayor of Corrin", "I met the mayor of Corrin last night."),
            ("so happy to see the goats again", "I'm so happy to see the goats again."),
        ],
    )
    def test_a_writer_that_the_tweet_leaves_out_may_be_named(self, tweet: str, output: str) -> None:
        assert "person" not in flags(tweet, output)

    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("Give a goat to a friend this winter!", "I give a goat to a friend this winter."),
            ("Customer service (such as it is) refunded my ticket", "I refunded my ticket."),
            ("if you have a dream and you're chasing it, good", "If you have a dream and I'm chasing it, good."),
            ("Happened in chemistry class today", "I happened in chemistry class today."),
            ("Smells like cut grass out here", "I smell like cut grass out here."),
        ],
    )
    def test_a_writer_who_does_what_others_do_is_found(self, tweet: str, output: str) -> None:
        assert "person" in flags(tweet, output)


class TestEndings:
    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("you should be mad. I sure am #Dunmore", "You should be mad, I sure am."),
            ("not sure they will win but hoping so xx", "They may win, hoping so."),
            ("i saw Anna Lund at the pool", "I saw Anna Lund."),
            ("as loud as you are :)", "As loud as you are."),
        ],
    )
    def test_an_ending_of_the_tweet_is_whole(self, tweet: str, output: str) -> None:
        assert "fragment" not in flags(tweet, output)

    @pytest.mark.parametrize(
        ("tweet", "output"),
        [
            ("the late ferries are usually the old ones", "The late ferries are usually."),
            ("I learned more from one storm than I did in all my years at sea", "I learned more from one storm than I did."),
            ("today we all met with Otto and Anna Lund at the pool", "Today we met with Otto and Anna."),
            ("the goat jumped over the gate of the mayor", "The goat jumped over the gate of the."),
        ],
    )
    def test_what_stops_before_its_end_is_found(self, tweet: str, output: str) -> None:
        assert "fragment" in flags(tweet, output)
