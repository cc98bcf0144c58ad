"""The word checks: other words for the same number, place, name or denial pass, and what is changed is caught all the same."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.payloads import Stage
from workers.text.checks import check
from workers.text.english import negation, numerals, places
from workers.text.english.words import vocabulary

WORDS = ("new_number", "new_name", "negation")


def flags(tweet: str, output: str) -> tuple[str, ...]:
    return check(tweet, output, Stage.CLEAN, WORDS).flags


@pytest.mark.parametrize(
    ("tweet", "output"),
    [
        ("@SkyHop no coffee, no speed line, nothing. worst lounge ever", "The SkyHop lounge lacked coffee and a speed line."),
        ("great job with the bags @SkyHop NOT!!!", "SkyHop did not do a great job with the bags."),
        ("great job with the bags @SkyHop NOT!!!", "SkyHop did a bad job with the bags."),
        ("Love waiting 3hrs. Not.", "I don't love waiting three hours."),
        ("@BlueFerries great communication... not", "BlueFerries' communication was not great."),
        ("company made 80M last year and still no wifi", "The company made 80 million last year but lacks wifi."),
        ("company made $80M last yr", "The company made eighty million dollars last year."),
        ("stuck at BOS since 7am", "I've been stuck in Boston since seven in the morning."),
        ("flight BOS-ORD cancelled", "My flight from Boston to Chicago was cancelled."),
        ("flying JFK to LHR tmrw", "I'm flying from New York to London tomorrow."),
        ("@southwestair thx for nothing", "Southwest Airlines gave me nothing."),
        ("@United_Ferries_2 late again", "United Ferries is late again."),
        ("@harbor_lines99 rude crew", "Harbor Lines has a rude crew."),
        ("they refused to refund my 5 dollars", "They would not refund my $5."),
        ("they would not refund my $5", "They refused to refund my five dollars."),
        ("the app fails to load", "The app does not load."),
        ("the app doesn't load", "The app fails to load."),
        ("crew couldn't find the key", "The crew was unable to find the key."),
        ("the staff wasn't helpful at all", "The staff was unhelpful."),
        ("the staff was unhelpful", "The staff was not helpful."),
        ("seat has no legroom", "The seat lacks legroom."),
        ("i waited 90 mins", "I waited an hour and a half."),
        ("paid 1.5k for this", "I paid 1,500 for this."),
        ("its the 3rd time in 2 wks", "It's the third time in two weeks."),
        ("50% of the ferries are late", "Half of the ferries are late."),
        ("half of the ferries are late", "50% of the ferries are late."),
        ("moved to Austin, TX in 09", "I moved to Austin, Texas."),
        ("born in the 80s", "I was born in the eighties."),
        ("2 dozen ppl waiting", "24 people are waiting."),
        ("i don't think the food was good", "The food wasn't good."),
        ("cant thank u enough @HarborLine", "I thank Harbor Line."),
        ("my flt on 3/14 got cxld", "My March 14 flight was cancelled."),
        ("meeting at 14:00", "The meeting is at 14:00."),
        ("see you at 2pm", "See you at 14."),
        ("100k ppl", "A hundred thousand people."),
        ("hundreds of ppl", "Hundreds of people."),
        ("21st bday today", "It's my twenty-first birthday."),
        ("two thousand fifteen", "2015."),
        ("#NoRefund from @SkyHop", "SkyHop gave no refund."),
        ("no wifi on this train", "The train has no Wi-Fi."),
        ("The train was not on time", "The train failed to be on time."),
        ("nobody answered the phone", "No one answered the phone."),
        ("w/o a receipt they won't help", "They won't help without a receipt."),
        ("never again!!", "Never again."),
        ("no idea why its late", "I don't know why it's late."),
        ("$5.5bn lost", "5.5 billion dollars were lost."),
        ("10k run this morning", "I ran 10 kilometers this morning."),
        ("gate B12 @ LGA is closed", "Gate B12 at LaGuardia is closed."),
        ("🇬🇧 trip next week", "A trip to Britain next week."),
        ("the bus is never on time", "The bus is always late."),
        ("they denied my refund", "They did not refund me."),
        ("i cant find my keys", "I lost my keys."),
        ("it won't stop raining", "It keeps raining."),
        ("the elevator isn't working, again", "The elevator is out of order again."),
        ("zero customer service at @PierOne", "Pier One has no customer service."),
        ("nobody told us", "We were not told."),
        ("i am not happy w/ this", "I'm unhappy with this."),
        ("disappointed and not impressed", "I'm disappointed and unimpressed."),
        ("impossible to reach them", "They can't be reached."),
        ("we never got our food", "We didn't get our food."),
        ("there isnt any water", "There is no water."),
        ("this is not ok", "This is not okay."),
        ("flying into MSY w/ @SkyHop", "Flying into New Orleans with Sky Hop."),
        ("ABQ to PDX is $99", "Albuquerque to Portland is 99 dollars."),
        ("from San Antonio, TX", "From San Antonio, Texas."),
        ("@dallas_news98 says 2 dead", "Dallas News says two are dead."),
        ("1 in 4 ppl", "One in four people."),
        ("25 percent off", "25% off."),
        ("a quarter past 3", "3:15."),
        ("5-star hotel", "A five-star hotel."),
        ("won 3-0", "They won three to zero."),
        ("the 2nd of may", "May 2nd."),
        ("3,500 ft up", "3500 feet up."),
        ("twenty five minutes", "25 minutes."),
        ("ten thousand steps", "10,000 steps."),
        ("12:30 flight", "The half past twelve flight."),
        ("a million thanks", "A million thanks."),
        ("No, I'm going to the pier", "I'm going to the pier."),
        ("not bad at all", "It's good."),
        ("this isn't a drill", "This is no drill."),
        ("couldn't be happier with the crew", "I'm very happy with the crew."),
        ("why wasn't i told", "Why was I not told?"),
    ],
)
def test_the_same_in_other_words_passes(tweet: str, output: str) -> None:
    assert flags(tweet, output) == ()


@pytest.mark.parametrize(
    ("tweet", "output", "flag"),
    [
        ("my flight to BOS was 3 hrs late", "My flight to Chicago was three hours late.", "new_name"),
        ("my flight to BOS was 3 hrs late", "My flight to Boston was four hours late.", "new_number"),
        ("made 80M", "They made 80 billion.", "new_number"),
        ("made 80M", "They made 8 million.", "new_number"),
        ("50k came", "Five thousand came.", "new_number"),
        ("50 came", "50k came.", "new_number"),
        ("it is the 3rd time", "It is the fourth time.", "new_number"),
        ("great job with the bags @SkyHop NOT!!!", "SkyHop did a great job with the bags.", "negation"),
        ("the app fails to load", "The app loads.", "negation"),
        ("they refused to refund me", "They refunded me.", "negation"),
        ("no coffee in the lounge", "There is coffee in the lounge.", "negation"),
        ("seat lacks legroom", "The seat has legroom.", "negation"),
        ("the staff was unhelpful", "The staff was helpful.", "negation"),
        ("the staff was helpful", "The staff was unhelpful.", "negation"),
        ("the staff was helpful", "The staff was not helpful.", "negation"),
        ("the bus was late", "The bus wasn't late.", "negation"),
        ("i like the driver but not the bus", "I like the bus but not the driver.", "negation"),
        ("the bus is late #fail", "The bus is not late.", "negation"),
        ("@SkyHop lost my bag", "HarborLine lost my bag.", "new_name"),
        ("@SkyHop lost my bag", "SkyHop failed to lose my bag.", "negation"),
        ("I will be IN the office OK", "He is in Indiana.", "new_name"),
        ("it's in the den", "It's in Denver.", "new_name"),
        ("unable to find my bag", "I found my bag.", "negation"),
        ("I'm never late", "I'm always late.", "negation"),
        ("nothing works", "Everything works.", "negation"),
        ("waited 2 hours", "I waited two and a half hours.", "new_number"),
        ("two dozen people", "Two hundred people.", "new_number"),
        ("waited two hours", "I waited twenty-two hours.", "new_number"),
        ("I can't wait to see you", "I can wait to see you.", "negation"),
        ("flight 1234 at 7pm", "Flight 1243 at seven.", "new_number"),
        ("without my bag", "I am with my bag.", "negation"),
        ("not a single person helped", "A single person helped.", "negation"),
        ("the bus is never on time", "The bus is always on time.", "negation"),
        ("they denied my refund", "They gave me my refund.", "negation"),
        ("zero customer service at @PierOne", "Pier One has customer service.", "negation"),
        ("impossible to reach them", "They can be reached.", "negation"),
        ("ABQ to PDX is $99", "Albuquerque to Phoenix is 99 dollars.", "new_name"),
        ("ABQ to PDX is $99", "Albuquerque to Portland is 199 dollars.", "new_number"),
        ("25 percent off", "35% off.", "new_number"),
        ("twenty five minutes", "52 minutes.", "new_number"),
        ("ten thousand steps", "100,000 steps.", "new_number"),
        ("we never got our food", "We got our food.", "negation"),
        ("i didn't say it was late", "I said it was late.", "negation"),
        ("she can't swim", "She can swim.", "negation"),
        ("not happy", "I'm happy.", "negation"),
        ("won 3-0", "They won 4-0.", "new_number"),
        ("@dallas_news98 says 2 dead", "Denver News says two are dead.", "new_name"),
    ],
)
def test_what_is_changed_is_caught(tweet: str, output: str, flag: str) -> None:
    assert flag in flags(tweet, output)


class TestNumerals:
    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("80M", {"80", "80000000"}),
            ("eighty million", {"80000000"}),
            ("$5.5bn", {"5500000000"}),
            ("2 dozen", {"24"}),
            ("half a million", {"500000"}),
            ("two hundred and fifty-five", {"255"}),
            ("twenty-first", {"21"}),
            ("a thousand", {"1000"}),
            ("fifteen hundred", {"1500"}),
            ("two and a half", {"2.5"}),
            ("the nineties", {"90"}),
            ("50%", {"50", ".5"}),
            ("1,000.50", {"1000.5"}),
            ("0042", {"42"}),
        ],
    )
    def test_a_number_has_its_value_in_digits_and_words(self, text: str, values: set[str]) -> None:
        (one,) = numerals.mentions(text)
        assert one.values == values

    @pytest.mark.parametrize("text", ["first of all", "half asleep", "once more", "no one", "a second"])
    def test_words_that_may_mean_no_number_are_none(self, text: str) -> None:
        assert numerals.mentions(text) == []

    def test_numbers_that_only_stand_together_stay_apart(self) -> None:
        assert [sorted(one.values) for one in numerals.mentions("two three, nineteen ninety, one hundred, five")] == [
            ["2"], ["3"], ["19"], ["90"], ["100"], ["5"],
        ]  # fmt: skip

    @given(st.integers(1, 999_999))
    def test_a_number_spelled_out_is_the_number(self, number: int) -> None:
        assert str(number) in numerals.values(spelled(number))
        if spelled(number) != "one":
            assert [one.values for one in numerals.mentions(spelled(number))] == [{str(number)}]


SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def spelled(number: int) -> str:
    if number < 20:
        return SMALL[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{SMALL[number % 10]}" if number % 10 else "")
    if number < 1000:
        return f"{SMALL[number // 100]} hundred" + (f" and {spelled(number % 100)}" if number % 100 else "")
    return f"{spelled(number // 1000)} thousand" + (f" {spelled(number % 1000)}" if number % 1000 else "")


class TestPlaces:
    def test_every_code_is_one_and_has_a_name_in_small_letters(self) -> None:
        for length, table in ((3, places.AIRPORTS), (2, places.STATES)):
            assert all(len(code) == length and code.isupper() for code in table)
            assert all(name == name.lower() and name for names in table.values() for name in names)

    @pytest.mark.parametrize("text", ["BOS", "flying BOS-ORD", "#BOS", "@BOSAirport", "at BOS."])
    def test_a_code_is_read_where_people_write_it(self, text: str) -> None:
        assert "boston" in places.names(text)

    @pytest.mark.parametrize(
        ("text", "city"), [("in the den", "denver"), ("the sea", "seattle"), ("mia is here", "miami"), ("OK so i did", "oklahoma")]
    )
    def test_a_word_is_no_code(self, text: str, city: str) -> None:
        assert city not in places.names(text)

    @given(st.sampled_from(sorted(places.AIRPORTS)), st.sampled_from(sorted(places.AIRPORTS)))
    def test_another_airports_city_is_a_new_name(self, code: str, other: str) -> None:
        mine, theirs = ({name for name in places.AIRPORTS[each] if len(name) > 3} for each in (code, other))
        if mine and theirs and not any(one in another or another in one for one in mine for another in theirs):
            name = sorted(theirs)[0].capitalize()
            assert "new_name" in flags(f"my bag is still in {code}", f"My bag is still in {name}.")
            assert flags(f"my bag is still in {code}", f"My bag is still in {sorted(mine)[0].capitalize()}.") == ()


class TestOpening:
    def test_a_word_that_begins_a_sentence_is_no_name(self) -> None:
        assert check("2 ppl got a refund, i got none", "Others got a refund.", Stage.CLEAN).flags == ("new_word",)
        assert "new_name" in flags("2 ppl got a refund, i got none", "Walter got a refund.")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
PARTS = (
    *("not", "no", "never", "NOT!!!", "lacks", "w/o", "80M", "two", "hundred", "and", "a", "half", "½", "1/2", "%", "ORD", "#BOS", "but"),
    *("@SkyAir9", "bus", "late", "🇺🇸", "7pm", "1230am", "!=", ",", ".", "un", "unhelpful", "helpful", "²", "dozen", "rather than", "so"),
)
PIECES = st.lists(st.sampled_from(PARTS), max_size=14).map(" ".join)


@given(TEXT | PIECES, TEXT | PIECES)
def test_no_text_stops_them_and_a_text_says_what_it_says(tweet: str, output: str) -> None:
    check(tweet, output)
    numerals.mentions(output)
    vocabulary(tweet)
    assert not negation.differs(tweet, tweet)
    assert "new_number" not in flags(tweet, tweet)


def test_a_long_text_takes_a_moment() -> None:
    words = random.Random(1).choices(["not", "two", "hundred", "half", "BOS", "late", "unkind", "and", ",", "lacks"], k=5000)
    check(" ".join(words), json.dumps(words))
