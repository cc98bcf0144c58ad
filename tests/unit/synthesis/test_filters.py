"""Filters: what each keeps and drops, and why; nothing else decides but the example itself."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.payloads import Stage
from schemas.synthesis import Filters
from workers.catalog.examples.dropped_examples import REASONS
from workers.errors import UserError
from workers.synthesis.filters import ExampleFilters
from workers.synthesis.rows import ExampleRow
from workers.text import language

TWEET = "omg my flight to Oslo w/ @SkyJet was 3 hrs late AGAIN, never flying them again smh #fail"
TARGET = "My flight to Oslo was 3 hours late again."


def row(prompt: str = TWEET, target: str = TARGET, origin: Any = "teacher", stage: Stage = Stage.SUMMARY, **more: Any) -> ExampleRow:
    return ExampleRow(stage, prompt, target, origin, more.get("lineage", {}), "train", more.get("cluster", 0))


def reasons(one: ExampleRow, **filters: Any) -> tuple[str, ...]:
    return ExampleFilters(Filters(**filters)).judge(one)[1]


@pytest.mark.parametrize("filters", [None, Filters()])
def test_without_filters_everything_passes_as_it_is(filters: Filters | None) -> None:
    poor = row(target="Buy 500 Rolexes now! No, really @you https://x.example/1 " * 9)
    assert ExampleFilters(filters).judge(poor) == (poor, ())


def test_a_good_row_passes_every_filter() -> None:
    everything = {"promise": True, "faithful": True, "shortest": 0.2, "longest": 1.0, "language": "en", "near_duplicates": True}
    assert reasons(row(), **everything) == ()


class TestPromise:
    @pytest.mark.parametrize(
        "target",
        [
            "My flight was late. Again.",
            "My flight was late",
            "My flight with @SkyJet was late.",
            "My flight was late :(.",
            " ".join(["late"] * 16) + ".",
        ],
    )
    def test_a_summary_of_another_form_is_dropped(self, target: str) -> None:
        assert reasons(row(target=target), promise=True) == ("promise",)

    def test_a_clean_text_may_have_several_sentences_but_no_marks_of_twitter(self) -> None:
        assert reasons(row(target="My flight was late. Again!", stage=Stage.CLEAN), promise=True) == ()
        assert reasons(row(target="My flight was late. Again! 😡", stage=Stage.CLEAN), promise=True) == ("promise",)

    def test_noise_that_joins_words_makes_no_target_too_long(self) -> None:
        joined = row("hows u", "How is the weather where you are?", "noise")
        assert reasons(joined, promise=True) == ()
        assert reasons(row("hows u", "How are you? Good?", "noise"), promise=True) == ("promise",)


class TestFaithful:
    @pytest.mark.parametrize(
        ("target", "reason"),
        [
            ("My flight to Oslo was 4 hours late.", "new_number"),
            ("My flight to Bergen was 3 hours late.", "new_name"),
            ("My flight to Oslo was cancelled.", "new_word"),
            ("My flight to Oslo was not late.", "negation"),
            ("My flight to Oslo was late https://late.example/oslo", "link"),
        ],
    )
    def test_what_the_tweet_does_not_say_is_named(self, target: str, reason: str) -> None:
        assert reasons(row(target=target), faithful=True) == (reason,)

    def test_a_row_tells_all_its_reasons_once(self) -> None:
        assert reasons(row(target="Bergen and Paris cancelled 44 and 55 flights."), faithful=True) == ("new_number", "new_name", "new_word")

    def test_noise_is_held_to_numbers_and_negation_alone(self) -> None:
        noised = "omg teh trayn 2 Bergn wz nvr on tyme, not 1nce in 12 dayz"
        assert reasons(row(noised, "The train to Bergen was never punctual, not once in 12 days.", "noise"), faithful=True) == ()
        assert reasons(row(noised, "The train was never on time in 13 days.", "noise"), faithful=True) == ("new_number",)
        assert reasons(row("the trayn wz late", "The train was not late.", "noise"), faithful=True) == ("negation",)

    @pytest.mark.parametrize(("origin", "lineage"), [("human", {}), ("import", {"human": True})])
    def test_a_person_may_mend_a_word_that_the_check_cannot_follow(self, origin: str, lineage: dict[str, Any]) -> None:
        mended = {"prompt": "who took all the brgz from our stove", "target": "Who took all the burgers from our stove?"}
        assert reasons(row(**mended, origin=origin, lineage=lineage), faithful=True, human="drop") == ()
        assert reasons(row(**mended, origin="teacher"), faithful=True) == ("new_word",)
        assert reasons(row(**mended, origin="import", lineage={"human": False}), faithful=True) == ("new_word",)


WRONG = {"target": "My flight to Bergen was 4 hours late. Again"}
FILTERS = {"promise": True, "faithful": True, "language": "en", "longest": 1.0}


class TestOfPeople:
    """What a person wrote is kept where a check speaks against it."""

    @pytest.mark.parametrize(("origin", "lineage"), [("human", {}), ("import", {"human": True})])
    def test_it_is_kept_with_what_was_found_in_its_lineage(self, origin: str, lineage: dict[str, Any]) -> None:
        one = row(**WRONG, origin=origin, lineage=lineage)
        kept, why = ExampleFilters(Filters(**FILTERS)).judge(one)
        assert why == ()
        assert kept.lineage == {**lineage, "flagged": ["promise", "new_number", "new_name"]}
        assert kept.example_key == one.example_key, "what was found is no part of what it is"

    def test_a_recipe_may_have_it_dropped(self) -> None:
        assert reasons(row(**WRONG, origin="human"), human="drop", **FILTERS) == ("promise", "new_number", "new_name")

    @pytest.mark.parametrize(("origin", "lineage"), [("teacher", {}), ("import", {"human": False}), ("import", {})])
    def test_what_no_person_wrote_is_dropped(self, origin: str, lineage: dict[str, Any]) -> None:
        assert "new_name" in reasons(row(**WRONG, origin=origin, lineage=lineage), **FILTERS)

    @pytest.mark.parametrize(
        ("prompt", "target", "filters", "flag"),
        [
            ("no puedo creer que mañana ya es lunes otra vez", "No puedo creer que mañana es lunes.", {"language": "en"}, "language"),
            ("boats rock", "Boats rock and rock and the boats rock.", {"longest": 1.0}, "too_long"),
            ("one two three four five six", "One.", {"shortest": 0.5}, "too_short"),
            ("the map is online", "The map is online http://maps.example/x", {"faithful": True}, "link"),
        ],
    )
    def test_every_filter_that_judges_it_flags_it(self, prompt: str, target: str, filters: dict[str, Any], flag: str) -> None:
        kept, why = ExampleFilters(Filters(**filters)).judge(row(prompt, target, "human"))
        assert (why, kept.lineage) == ((), {"flagged": [flag]})

    def test_of_near_duplicates_one_is_enough_whoever_wrote_them(self) -> None:
        filters = ExampleFilters(Filters(near_duplicates=True, faithful=True))
        judged = [filters.judge(row(TWEET, f"My flight to Oslo was {hours} hours late.", "human")) for hours in (4, 3)]
        assert [(one.lineage, why) for one, why in judged] == [({"flagged": ["new_number"]}, ()), ({}, ("near_duplicate",))]

    def test_an_example_of_the_test_is_flagged_and_stays_as_it_is(self) -> None:
        filters = ExampleFilters(Filters(human="drop", scrub=("handle",), **FILTERS))
        looked_at = filters.look_at(row(**WRONG, origin="human"))
        assert (looked_at.prompt_text, looked_at.lineage["flagged"]) == (TWEET, ["promise", "new_number", "new_name"])


class TestLength:
    def test_shortest_and_longest_count_words_of_both(self) -> None:
        ten = "one two three four five six seven eight nine ten"
        assert reasons(row(ten, "One two."), shortest=0.2) == ()
        assert reasons(row(ten, "One two."), shortest=0.21) == ("too_short",)
        assert reasons(row(ten, f"{ten} eleven"), longest=1.1) == ()
        assert reasons(row(ten, f"{ten} eleven"), longest=1.0) == ("too_long",)

    def test_a_hashtag_counts_as_the_words_in_it(self) -> None:
        assert reasons(row("#NewYorkCity rocks", "New York City rocks."), longest=1.0) == ()

    def test_noise_has_as_many_words_as_it_made(self) -> None:
        assert reasons(row("omgwhat aday", "Oh my god, what a day.", "noise"), longest=1.0) == ()

    def test_a_tweet_without_words_has_no_target(self) -> None:
        assert reasons(row("", "Something."), longest=1.0) == ("too_long",)


class TestLanguage:
    @pytest.mark.parametrize(
        "text",
        [
            "no puedo creer que mañana ya es lunes otra vez",
            "ich hab heute echt keine lust auf arbeit",
            "je suis trop fatigué pour aller en cours demain",
            "bugün hiç çalışmak istemiyorum",
            "aku capek banget hari ini pengen tidur aja",
            "今日は本当に疲れた、もう寝たい",
            "сегодня совсем не хочу идти на работу",
        ],
    )
    def test_another_language_is_dropped_in_the_tweet_or_the_target(self, text: str) -> None:
        assert reasons(row(text, TARGET), language="en") == ("language",)
        assert reasons(row(TWEET, text), language="en") == ("language",)

    @pytest.mark.parametrize(
        "text",
        [
            "lol",
            "ha ha ha ha ha ha",
            "bruhhh i cnt evn rn smh",
            "gn fam luv yall",
            "😂😂😂",
            "@dreizehn #guten #morgen https://x.example/das-ist-gut",
            "yay yay yay yay yay yay yay",
            "NOOOO wayyyy",
        ],
    )
    def test_what_is_misspelt_or_too_short_to_tell_is_kept(self, text: str) -> None:
        assert reasons(row(text, text), language="en") == ()

    def test_of_noise_only_the_target_is_asked(self) -> None:
        assert reasons(row("jeg ser ikke fjernsyn i dag", TARGET, "noise"), language="en") == ()
        assert reasons(row(TWEET, "Jeg ser ikke fjernsyn i dag.", "noise"), language="en") == ("language",)

    def test_another_wanted_language_works_the_other_way_round(self) -> None:
        assert reasons(row("ich hab heute echt keine lust auf arbeit", "Ich habe keine Lust auf Arbeit."), language="de") == ()
        assert reasons(row(), language="de") == ("language",)

    def test_a_language_that_is_not_known_is_told_before_the_first_row(self) -> None:
        with pytest.raises(UserError, match=r"filters\.language: xx is not known\. There are .*\ben\b"):
            ExampleFilters(Filters(language="xx"))


class TestNearDuplicates:
    tweet = "the trains to Oslo are late again and nobody tells us why"

    def test_of_one_text_in_several_the_first_is_kept(self) -> None:
        filters = ExampleFilters(Filters(near_duplicates=True))
        judged = [filters.judge(row(text))[1] for text in (self.tweet, f"RT @someone: {self.tweet.upper()}!", f"{self.tweet} honestly")]
        assert judged == [(), ("near_duplicate",), ("near_duplicate",)]

    def test_a_row_that_is_dropped_for_something_else_stands_in_nobodys_way(self) -> None:
        filters = ExampleFilters(Filters(near_duplicates=True, faithful=True))
        assert filters.judge(row(self.tweet, "Paris."))[1] == ("new_name",)
        assert filters.judge(row(self.tweet, "The trains are late."))[1] == ()

    def test_copies_that_noise_made_of_one_text_are_no_duplicates(self) -> None:
        filters = ExampleFilters(Filters(near_duplicates=True))
        assert [filters.judge(row(self.tweet, origin="noise"))[1] for _ in range(3)] == [(), (), ()]
        assert filters.judge(row(self.tweet, origin="human"))[1] == ()

    def test_tweets_of_one_thread_share_a_cluster_and_are_no_duplicates(self) -> None:
        filters = ExampleFilters(Filters(near_duplicates=True))
        texts = (self.tweet, "so i took the bus instead", "and the bus broke down too")
        assert [filters.judge(row(text, cluster=7))[1] for text in texts] == [(), (), ()]

    def test_the_recipes_similarity_decides(self) -> None:
        texts = (self.tweet, f"{self.tweet} honestly")
        strict = ExampleFilters(Filters(near_duplicates=True), near_duplicate=1.0)
        assert [strict.judge(row(text))[1] for text in texts] == [(), ()]


@pytest.mark.parametrize(
    ("library", "key", "filters"), [("py3langid", "language", {"language": "en"}), ("phonenumbers", "scrub", {"scrub": ("phone",)})]
)
def test_a_library_that_is_not_there_is_named_with_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, library: str, key: str, filters: dict[str, Any]
) -> None:
    language._identifier.cache_clear()
    for module in (library, f"{library}.langid"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"no {library} here, which filters\.{key} needs: pip install 'tweetmill\[gpu\]'"):
        reasons(row("call 202-555-0143", "Call."), **filters)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
ALL = Filters(promise=True, faithful=True, shortest=0.1, longest=1.5, language="en", scrub=("email", "phone", "handle"))


@settings()  # the first one loads the detector's model
@given(TEXT, TEXT, st.sampled_from(["human", "import", "noise", "teacher"]), st.sampled_from(list(Stage)))
@example("@" * 300, "#" * 300, "teacher", Stage.SUMMARY)
@example("1" * 300, "+1" * 150, "teacher", Stage.CLEAN)
@example("<" * 300, ":(" * 150, "human", Stage.SUMMARY)
def test_no_text_stops_it_and_every_reason_has_a_meaning(prompt: str, target: str, origin: str, stage: Stage) -> None:
    kept, why = ExampleFilters(ALL).judge(row(prompt, target, origin, stage))
    assert set(why) <= set(REASONS)
    assert ExampleFilters(ALL).judge(row(prompt, target, origin, stage)) == (kept, why), "what came before decides nothing"


def test_a_long_post_is_judged_in_a_moment() -> None:
    post = "the train to Oslo is 5 minutes late and call 202-555-0143 or mail me@x.example " * 320
    assert reasons(row(post, TARGET), promise=True, faithful=True, longest=1.0, language="en", scrub=("email", "phone"))


def test_the_detector_asks_for_no_network() -> None:
    assert not language.surely_other("this is plain English, as far as anybody can tell", "en")
