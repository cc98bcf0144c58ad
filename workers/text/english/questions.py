"""Tells whether a sentence asks, with or without its question mark."""

from __future__ import annotations

from collections.abc import Sequence

from workers.text.english.lexicon import ANSWERS, AUXILIARIES, LEAD_INS, QUESTION_OPENERS, SUBJECTS
from workers.text.english.words import lowered, stems

_SHORT = 3  # words: "but the service??" asks nothing
_WH = frozenset({"who", "what", "where", "why", "how", "when"})


def may_ask(sentence: str) -> bool:
    """Return whether a sentence without a question mark may be a question: "ok but who left", "so if it rains do they play"."""
    words = _opened(lowered(sentence))
    if words and _opener(words[0]) in QUESTION_OPENERS:
        return True
    return any(
        (verb in AUXILIARIES and subject in SUBJECTS) or (wh in _WH and verb in AUXILIARIES)
        for wh, verb, subject in zip(("", *words), words, (*words[1:], ""), strict=False)
    ) or any(word in ("where's", "wheres") for word in words)


def asks(sentence: str) -> bool:
    """Return whether a sentence with a question mark is a question, and no surprise after a statement: "but the service??"."""
    if not sentence.rstrip("\"').").endswith("?"):
        return False
    words = lowered(sentence)
    last = max((place for place, word in enumerate(words) if word in ("but", "and", "or")), default=-1)
    return last < 1 or len(words) - last - 1 > _SHORT or may_ask(" ".join(words[last + 1 :]))


def is_answered(question: str, following: Sequence[str], output: str) -> bool:
    """Return whether the output says what the tweet answers to its own question: in its next word or two, or in what the output took."""
    answer = following[0] if following else ""
    if not answer:
        return False
    if not ANSWERS.isdisjoint(lowered(answer)[:2]):
        return True
    own = set(stems(answer)) - set(stems(question))
    return len(own.intersection(stems(output))) > 1


def _opened(words: Sequence[str]) -> Sequence[str]:
    """Return the words without what may stand before a question: `ok but`, `hey`."""
    start = next((place for place, word in enumerate(words) if word not in LEAD_INS), len(words))
    return words[start:]


def _opener(word: str) -> str:
    bare = word.removesuffix("'s").removesuffix("'re").removesuffix("'d")
    return bare if bare in QUESTION_OPENERS or not word.endswith("s") else word.removesuffix("s")
