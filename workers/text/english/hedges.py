"""Finds what a text says with reserve: `might`, `if`, `I think`."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import pairwise

from workers.text.english.lexicon import HEDGES
from workers.text.english.words import lowered, stems

_REACH = 2  # content words after a hedge that it is about
# They have a word of doubt and none: a wish for somebody, a remark on a word, advice, what was expected and is not so.
_IDIOMS = re.compile(
    r"\bwish(?:ing|es)?\s(?:me|you|u|him|her|us|them|everyone|everybody|\w+\sa)\b"
    r"|\bif (?:you|u|we|one|that) (?:can|could|wanna|want to) call\b|\bif (?:you|u) (?:will|know|ask)\b|\bif anything\b"
    r"|\bin case (?:you|u|ur|anyone)(?:'re)? (?:were |are |is )?wondering\b|\bcrazy to think\b"
    r"|\b(?:you|u) should\b|\bwould (?:love|hate|like)\b|\bshould(?=[^.!?]*\bbut\b)",
    re.IGNORECASE,
)
_ASKED = {("will", "you"), ("can", "you")}


def is_lost(source: str, output: str) -> bool:
    """Return whether `output` keeps what `source` says with reserve, and no reserve."""
    return not hedged(output) and any(_kept(about, stems(output)) for about in _hedged_words(source))


def hedged(text: str) -> bool:
    """Return whether anything in the text is said with reserve; a question is."""
    words = lowered(text)
    if not HEDGES.isdisjoint(words) or text.rstrip("\"')").endswith("?"):
        return True
    return any(word.endswith(("'d", "n't")) and word.removesuffix("n't") in HEDGES | {"i'd"} for word in words) or any(
        pair in _ASKED for pair in pairwise(words)
    )


def _hedged_words(source: str) -> list[tuple[str, ...]]:
    """Return the stems of what each hedge of the sentence is about."""
    words = lowered(_IDIOMS.sub(" ", source))
    found = []
    for place, word in enumerate(words):
        if word in HEDGES or (word, *words[place + 1 : place + 2]) in _ASKED:
            reach = 1 if word == "should" else _REACH
            found.append(stems(" ".join(words[place + 1 :]))[:reach])
    return found


def _kept(about: tuple[str, ...], output: Collection[str]) -> bool:
    return any(word in output for word in about)
