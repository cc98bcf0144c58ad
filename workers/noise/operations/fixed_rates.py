"""Applies noise to clean sentences, each operation by itself at the rate measured on tweets.

The target of such a pair is the clean sentence, so an operation may only do what can be undone by reading: digits and words
for numbers stay, and so does every negation (`can't` may become `cant`); names are never misspelt. Operations follow UFAL's winning
entry at MultiLexNorm (Samuel and Straka, W-NUT 2021, arXiv 2110.15248), with the marks of Twitter added.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from workers.noise.fitting.rates import NoiseRates
from workers.noise.operations import decoration, spelling
from workers.noise.operations.draft import Draft, Operation

OPERATIONS: tuple[Callable[[Draft], None], ...] = (
    spelling.drop_subject,
    spelling.use_slang,
    spelling.drop_apostrophes,
    decoration.tag_words,
    spelling.make_typos,
    spelling.lengthen,
    decoration.loosen_sentences,
    decoration.change_punctuation,
    decoration.change_case,
    decoration.add_filler,
    decoration.add_emoticon,
    decoration.add_emoji,
    decoration.add_hashtags,
    decoration.add_link,
    decoration.retweet,
    decoration.address,
)


@dataclass(frozen=True)
class Noisy:
    """A sentence made to look like a tweet, and what was done to it, in order."""

    text: str
    operations: tuple[Operation, ...]


def apply(sentence: str, rates: NoiseRates, rng: random.Random) -> Noisy:
    """Apply noise to one clean sentence or short text; the same generator state gives the same noise.

    White space becomes single spaces. `operations` is empty exactly if nothing else changed.
    """
    draft = Draft.of(sentence, rates, rng)
    for operation in OPERATIONS:
        operation(draft)
    return Noisy(draft.text(), tuple(draft.operations))
