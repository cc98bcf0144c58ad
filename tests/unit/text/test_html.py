"""HTML becomes the text that a reader sees, and what people type between angle brackets stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.text.html import plain_of, to_text, unescape_once, without_tags


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>The ferry is late<br />again &amp; again</p><p>Sigh.</p>", "The ferry is late\nagain & again\n\nSigh."),
        ('<p>The <a href="https://m.example/tags/quay" class="mention hashtag">#<span>quay</span></a> floods</p>', "The #quay floods"),
        ('<span class="h-card"><a href="https://m.example/@ann" class="u-url mention">@<span>ann</span></a></span> hi', "@ann hi"),
        (
            '<a href="https://x.example"><span class="invisible">https://</span><span>x.example</span><i class="invisible">/b</i></a>',
            "https://x.example/b",
        ),
        ('full of <span class="invisible">https://</span>people', "full of people"),
        ("<ul><li>one<li>two</ul>three", "one\ntwo\n\nthree"),
        ("a<script>if (x < y) go()</script>b<style>p {}</style>c<!-- d -->", "abc"),
        ("<P CLASS=quiet>UP\nAND ON</P>", "UP AND ON"),
        ("we typed &lt;b&gt; and &amp;lt;", "we typed <b> and &lt;"),
        ('<img src="x" alt="a > b">gone, <unknown-element>kept</unknown-element>', "gone, kept"),
        ('cut in a <a href="https://x.example/wa', "cut in a"),
        ("cut in a <br", "cut in a"),
        ("", ""),
    ],
)
def test_html_is_read_as_a_reader_sees_it(markup: str, text: str) -> None:
    assert to_text(markup) == text


@pytest.mark.parametrize(
    "typed",
    [
        "I <3 you </3",
        "x < y and y > z",
        "so lovely <sarcasm> </sarcasm>",
        "if a<b and c>d or a<b>c",
        "<user> sent <number> to <url> by <link>",
        "5 <6> 7 <- that >_< <>",
        "write to <ann@example.org> or <https://x.example>",
        "-> <code> me",
        "<a way out>",
        "I <!-- heart",
    ],
)
def test_what_people_type_between_angle_brackets_stays(typed: str) -> None:
    assert without_tags(typed) == typed
    assert plain_of(typed.replace("<", "&lt;").replace(">", "&gt;")) == typed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<p>late again</p>", "late again"),
        ("late<br>again", "late again"),
        ("a <b>bold</b> move, an <s>s", "a bold move, an <s>s"),
        ('see <a href="https://x.example">here</a>', "see here"),
        ("&lt;p&gt;late&lt;/p&gt;", "late"),
        ("&amp;amp;lt;br/&amp;amp;gt;late &amp;amp;amp; wet", "late & wet"),
        ("<span>tr</span>am", "tram"),
        ("<b>late again", "late again"),
        ("late again</i>!", "late again!"),
        ("gr8 &lt3 AT&TIMES x.example?a=1&copy=2 R&D; &#39;k&#x27;", "gr8 <3 AT&TIMES x.example?a=1&copy=2 R&D; 'k'"),
    ],
)
def test_tags_leave_a_tweet_without_joining_or_splitting_words(text: str, words: str) -> None:
    assert " ".join(plain_of(text).split()) == words


def test_an_entity_is_undone_once_where_it_is_asked_for_once() -> None:
    assert unescape_once("&amp;lt;3 &hearts;") == "&lt;3 ♥"


@given(st.text(alphabet=st.sampled_from(list("<>/apbr ='\"&;#!-lt3\n")), max_size=60))
def test_nothing_fails_and_nothing_is_undone_twice(text: str) -> None:
    to_text(text)
    assert without_tags(without_tags(text.replace("<", ""))) == text.replace("<", "")


@pytest.mark.parametrize("evil", ["<", "<p ", "<p a", '<p a="', "<!--", "&amp;", "<a href=x", '<span class="invisible ', "</", "a\n "])
def test_no_text_takes_long(evil: str) -> None:
    for text in (evil * 8_000, "<p" + evil * 8_000):
        assert len(to_text(text)) <= len(text)
        assert len(plain_of(text)) <= 2 * len(text)
