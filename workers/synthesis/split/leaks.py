"""Finds texts that are near to what is held back; every text of the training split is checked, whatever made it.

The clusters keep sources apart. But noise may make a text like another one, a teacher may answer what a person wrote of another
tweet, and MinHash misses a near-duplicate now and then.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from workers.text.near_duplicates import shingles
from workers.text.sentences import normalise


class HeldBack:
    """The texts of the test.

    Args:
        texts: tweets, and what people wrote of them.
        threshold: Jaccard similarity of word 3-shingles from which two texts count as one; 1: equals alone.
    """

    def __init__(self, texts: Iterable[str], threshold: float) -> None:
        self._threshold = threshold
        self._sizes: dict[str, int] = {}
        self._with: dict[str, list[str]] = defaultdict(list)
        for text in {normalise(text) for text in texts}:
            parts = shingles(text)
            self._sizes[text] = len(parts)
            for part in parts if threshold < 1 else ():
                self._with[part].append(text)

    def is_near(self, text: str) -> bool:
        """Whether the text is one of them, or a near-duplicate."""
        bare = normalise(text)
        if bare in self._sizes:
            return True
        parts = shingles(bare)
        shared = Counter(held for part in parts for held in self._with.get(part, ()))
        return any(count / (len(parts) + self._sizes[held] - count) >= self._threshold for held, count in shared.items())
