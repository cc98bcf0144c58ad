"""Measures texts by what may drift: length, language, words that nobody learnt, and what people do to English."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.noise.fitting.profile import OPERATIONS
from workers.noise.fitting.style_vectors import style_of
from workers.noise.fitting.typos import Diagnosis
from workers.text.language import surely_other
from workers.text.tokens import HANDLE, LINK, plain

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """One number of a text. A `share` is 1 where a text has it and 0 where not; else its mean is compared."""

    name: str
    words: str
    share: bool


def measures(language: str) -> tuple[Measure, ...]:
    """Return what is measured, in the order of the columns of `table`."""
    return (
        Measure("characters", "characters", share=False),
        Measure("words", "words", share=False),
        Measure("unknown words", "share of words that no other training text has", share=False),
        Measure("other language", f"surely not in the language {language}", share=True),
        *(Measure(name, name, share=True) for name in OPERATIONS),
    )


def table(
    texts: Sequence[str],
    unknown: Sequence[float],
    frequencies: Mapping[str, int],
    language: str,
    on_text: Callable[[], None] = lambda: None,
) -> Table:
    """Return the measures of texts, shape (texts, measures).

    Args:
        texts: as they came.
        unknown: the share of words of each that nobody learnt.
        frequencies: standard English words and how often they occur.
        language: the code that is expected, such as en.
        on_text: called for each text; may raise to stop.
    """
    diagnosis = Diagnosis(dict(frequencies))
    rows = []
    for text, share in zip(texts, unknown, strict=True):
        on_text()
        style = style_of(text, diagnosis)
        has = (float(count(style) > 0) for count in OPERATIONS.values())
        rows.append((len(text), len(_WORD.findall(plain(text))), share, float(surely_other(text, language)), *has))
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(measures(language)))


def unknown_shares(incoming: Iterable[str], learnt: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return for each incoming text the share of its words that no training text has, and for each training text that no other one has.

    A text of training is held against the others alone, or it would know all of its own words. Handles and links are no words.
    """
    sets = [_words(text) for text in learnt]
    bearers = Counter(word for found in sets for word in found)
    return (
        [_share(found, lambda word: bearers[word] == 0) for found in map(_words, incoming)],
        [_share(found, lambda word: bearers[word] == 1) for found in sets],
    )


def _words(text: str) -> frozenset[str]:
    bare = HANDLE.sub(" ", LINK.sub(" ", plain(text)))
    return frozenset(_WORD.findall(bare.lower()))


def _share(words: frozenset[str], fits: Callable[[str], bool]) -> float:
    return sum(map(fits, words)) / len(words) if words else 0.0
