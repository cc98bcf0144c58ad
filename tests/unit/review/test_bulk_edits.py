"""Fix one, apply to all: what an edit says of other rows."""

from __future__ import annotations

import pytest

from workers.review.bulk_edits import Rule, rules_of


@pytest.mark.parametrize(
    ("before", "after", "rules"),
    [
        ("The buss is late.", "The bus is late.", [Rule("buss", "bus")]),
        ("The bus is very late.", "The bus is late.", [Rule("very", "")]),
        ("The tram in NYC is late.", "The tram in New York is late.", [Rule("NYC", "New York")]),
        ("Its late and its cold.", "It's late and it's cold.", [Rule("Its", "It's"), Rule("its", "it's")]),
        ("The bus is late.", "The red bus is late.", []),
        ("The bus is late.", "The bus is late!", []),
        ("The bus is late.", "The bus is late.", []),
    ],
)
def test_an_edit_says_which_words_were_replaced_or_dropped(before, after, rules):
    assert rules_of(before, after) == rules


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        (Rule("u", "you"), "Thank u, but u used it up.", "Thank you, but you used it up."),
        (Rule("US", "United States"), "The US told us.", "The United States told us."),
        (Rule("very", ""), "It is very late, very.", "It is late,."),
        (Rule("Well", ""), "Well it rains.", "it rains."),
        (Rule("New York", "NYC"), "In New  York.", "In NYC."),
        (Rule("$5", "five dollars"), "It costs $5.", "It costs five dollars."),
        (Rule("a.b", "c"), "axb stays", "axb stays"),
        (Rule("x", r"\1"), "x", r"\1"),
    ],
)
def test_a_rule_is_done_at_word_boundaries_and_to_the_letter(rule, before, after):
    assert rule.apply(before) == after


def test_a_rule_says_what_it_does():
    assert str(Rule("u", "you")) == "“u” → “you”"
    assert str(Rule("very", "")) == "drop “very”"
