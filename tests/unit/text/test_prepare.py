"""What the model is shown of a tweet, and how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.text.prepare import PREPARED_LIMIT, prepare
from workers.text.tokens import count_words, split_hashtag


@pytest.mark.parametrize(
    ("tweet", "shown"),
    [
        ("@anonymous @ann: the bus is late", "the bus is late"),
        (".@CityBus you are late again", "you are late again"),
        (".@CityBus is late again", "CityBus is late again"),
        ("@anonymous has lost the vote", "someone has lost the vote"),
        ("@CityBus was the worst", "CityBus was the worst"),
        ("@CityBus was on hold for an hour", "was on hold for an hour"),
        ("@CityBus is there a bus today", "is there a bus today"),
        ("@CityBus is late again, why?", "is late again, why?"),
        ("@CityBus @ann is late again", "is late again"),
        ('she said "go home and never came back', "she said go home and never came back"),
        ('she said "go home" and left', 'she said "go home" and left'),
        ('a 6" nail', 'a 6" nail'),
        ("RT @anonymous RT @ann: The bus is late http://t.co/x", "The bus is late"),
        ("Oh no! RT @anonymous The bus is late", "Oh no! The bus is late"),
        ("fish &amp; chips &lt;3", "fish & chips <3"),
        ("the bus   is\nlate", "the bus is late"),
        ("the bus is late #fail #CityBus", "the bus is late"),
        ("off to the #beach", "off to the beach"),
        ("the #CityBus is late", "the City Bus is late"),
        ("#HappyMonday #coffee", "Happy Monday coffee"),
        ("see you at @TheHarbour tonight :)", "see you at TheHarbour tonight :)"),
        ("@anonymous :( so sad", ":( so sad"),
        ("it’s “late”…", 'it\'s "late"...'),
        ("read bit.ly/re5iZP and latimes.com", "read and latimes.com"),
        ("soooo LATE omg lol", "soooo LATE omg lol"),
        ("@anonymous http://t.co/x", ""),
    ],
)
def test_machinery_goes_and_words_stay(tweet: str, shown: str) -> None:
    assert prepare(tweet) == shown


@pytest.mark.parametrize(
    ("tweet", "shown"),
    [
        ("we met @ann_b and @CityBus today", "we met ann_b and CityBus today"),
        ("I saw @anonymous at @TheHarbour", "I saw someone at TheHarbour"),
        ("lunch with @anonymous, @user and @username today", "lunch with someone today"),
        ("the bus is late. @ann", "the bus is late."),
        ("late again @ann @bob", "late again"),
        ("Photo of the day (via @ann)", "Photo of the day"),
        ("thanks @ann", "thanks ann"),
        ("write to ann@example.org", "write to ann@example.org"),
    ],
)
def test_a_handle_is_a_name_inside_a_sentence_and_an_address_elsewhere(tweet: str, shown: str) -> None:
    assert prepare(tweet) == shown


@pytest.mark.parametrize(
    ("tweet", "shown"),
    [
        ("RT if you like the harbour", "RT if you like the harbour"),
        ("rt to win a kite", "rt to win a kite"),
        ("RT THIS if you care", "RT THIS if you care"),
        ("RT 4 a follow back", "RT 4 a follow back"),
        ("pls RT, the cat is lost", "pls RT, the cat is lost"),
        ("Follow and RT @kite_shop to win", "Follow and RT kite_shop to win"),
        ("I try not to RT @ann all day", "I try not to RT ann all day"),
        ("RT-PCR tests are late", "RT-PCR tests are late"),
        ("START @ann", "START ann"),
        ("Mt Olive is closed", "Mt Olive is closed"),
        ("Rt Hon Ann Lee is late", "Rt Hon Ann Lee is late"),
        ("RT 66 is closed", "RT 66 is closed"),
        ("RT @ann: the bus is late", "the bus is late"),
        ("so true RT @ann: the bus is late", "so true the bus is late"),
        ("please read and RT @ann: the bus is late", "please read and the bus is late"),
        ("RT: The bus is late", "The bus is late"),
        ("RT The bus is late", "The bus is late"),
        ("RT ann_b the bus is late", "ann_b the bus is late"),
        ("RT harbour: the bus is late", "harbour: the bus is late"),
        ('RT "the bus is late"', '"the bus is late"'),
        ('lol RT "@ann: the bus is late"', "lol the bus is late"),
        ("MT @ann: the bus is late", "the bus is late"),
        ("the bus is late MT @ann see you", "the bus is late see you"),
        ("H/T @ann: the bus is late", "the bus is late"),
        ("via @ann: the bus is late", "the bus is late"),
        ("the bus is late (h/t @ann) again", "the bus is late again"),
        ("the bus is late via @ann.", "the bus is late."),
        ("I went via @HarbourTown to the sea", "I went via HarbourTown to the sea"),
        ("RT", ""),
    ],
)
def test_a_word_that_looks_like_a_mark_is_none(tweet: str, shown: str) -> None:
    assert prepare(tweet) == shown


@pytest.mark.parametrize(
    ("tweet", "shown"),
    [
        ("\u2066@ann\u2069 \u2066@bob\u2069 the bus is late", "the bus is late"),
        ("the har\u00adbour is beau\u200btiful", "the harbour is beautiful"),
        ("the\u2060 bus\ufeff is\u200e late\u202c", "the bus is late"),
        ("a\tbus\nis\rlate\x0bagain\u2028and\x85again", "a bus is late again and again"),
        ("the b\x00u\x08s is l\x7fa\x9fte", "the bus is late"),
        ("\x1b[31mred\x1b[0m bus\x1b]0;title\x07 late", "red bus late"),
        ("#har\u200bbour day for us", "harbour day for us"),
        ("go \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f go", "go \U0001f3f4 go"),
        ("the \U0001d423\U0001d42e\U0001d428 \U0001d7db \uff42\uff55\uff53\uff01", "the juo 3 bus!"),
        ("\U0001d49c\u212c in \u24d1\u24e4\u24e2 \u24c2", "AB in bus \u24c2"),
        (r"it\u2019s late\u2026 \ud83d\ude00 \ud83d go to C:\users", "it's late... \U0001f600 go to C:\\users"),
        ("\u3164empty\u115f fil\u17b4lers\ufff9\ufffb", "empty fillers"),
        ("&shy;so&#8203;up &#x2066;hot", "soup hot"),
        ("cafe\u0301 \u034f!", "café !"),
        ("\ufb01ne \ufb02oats", "fine floats"),
        # Joiners and selectors that mean something stay.
        (
            "\U0001f469\u200d\U0001f4bb codes, I \u2764\ufe0f it, 1\ufe0f\u20e3",
            "\U0001f469\u200d\U0001f4bb codes, I \u2764\ufe0f it, 1\ufe0f\u20e3",
        ),
        ("می\u200cخواهم \u0d05\u0d35\u0d28\u0d4d\u200d", "می\u200cخواهم \u0d05\u0d35\u0d28\u0d4d\u200d"),
        ("so\u200dup \u200cwith\ufe0f it", "soup with it"),
    ],
)
def test_what_is_invisible_leaves_without_splitting_a_word(tweet: str, shown: str) -> None:
    assert prepare(tweet) == shown


@pytest.mark.parametrize(
    ("tweet", "shown"),
    [
        (
            '<p>The <a href="https://m.example/tags/quay" class="mention hashtag">#<span>quay</span></a> floods<br />again</p>',
            "The quay floods again",
        ),
        ("&lt;p&gt;late &amp;amp; wet&lt;/p&gt;", "late & wet"),
        ("I &lt;3 it, x < y and y > z <sarcasm>", "I <3 it, x < y and y > z <sarcasm>"),
        ("wet<br>late", "wet late"),
    ],
)
def test_no_html_is_shown(tweet: str, shown: str) -> None:
    assert prepare(tweet) == shown


@given(st.text(max_size=300))
def test_any_text_is_shown_on_one_line_and_preparing_it_never_fails(text: str) -> None:
    shown = prepare(text)
    assert shown == " ".join(shown.split())
    assert len(shown) <= PREPARED_LIMIT


def test_a_long_post_is_cut_at_a_word() -> None:
    shown = prepare("soup " * 5000)
    assert len(shown) <= PREPARED_LIMIT
    assert shown.endswith("soup")


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("HomeImprovement", "Home Improvement"),
        ("MTVAwards", "MTV Awards"),
        ("new_york", "new york"),
        ("iPhone", "iPhone"),
        ("eBay", "eBay"),
        ("fail", "fail"),
        ("COVID19", "COVID19"),
        ("été", "été"),
    ],
)
def test_hashtags_are_split_at_capitals(tag: str, words: str) -> None:
    assert split_hashtag(tag) == words


def test_the_words_of_hashtags_count() -> None:
    assert count_words("#HappyMonday all &amp; sundry") == 5
