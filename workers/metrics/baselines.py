"""Computes the baselines that a fine-tuned model must beat: cleaning by rules, and the first words of that."""

from __future__ import annotations

from workers.text.clean import one_sentence, rules
from workers.text.constraints import MAX_WORDS
from workers.text.tokens import count_words

__all__ = ["lead", "rules"]


def lead(text: str) -> str:
    """Return the first 15 words of `rules` as one sentence: marks between sentences become commas, a cut is closed with a period."""
    return one_sentence(rules(text), min(MAX_WORDS, count_words(text)))
