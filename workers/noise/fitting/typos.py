"""Classifies misspelt words by the typo that made them, with a word list.

The commonest standard word one typo away explains the misspelling; the typo's name is kept, the words are not.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from functools import lru_cache

from workers.noise.fitting.keyboards import KEYBOARDS
from workers.noise.fitting.slang import SLANG
from workers.noise.fitting.word_lists import VOWELS, words

COMMON = 5_000
"""Times a word must have been seen to be what somebody meant: a rarer one explains too much by chance."""
TYPOS = ("letter dropped", "letter doubled", "letters swapped", "key missed", "vowels dropped", "words merged")
_MERGEABLE = COMMON * 40
_SPELLINGS = frozenset(form.lower() for forms in SLANG.values() for form in forms)
COMPOUNDS = {
    " ".join(parts): "".join(parts)
    for parts in (
        pair.split("+")
        for pair in words(
            "every+one any+one some+one every+thing any+thing some+thing some+times any+way week+end birth+day any+more my+self your+self "
            "on+line in+side out+side over+night through+out every+body any+body some+body break+fast good+bye home+work down+town "
            "foot+ball base+ball class+room bed+room lap+top web+site in+to your+selves them+selves every+day any+where some+where "
            "every+where my+space grand+ma what+ever when+ever how+ever who+ever may+be al+ready"
        )
    )
}
"""`every one` -> `everyone`: where people put a blank too much. The other way round it is a blank too few."""


class Diagnosis:
    """Names the typo in a word, with the help of word frequencies."""

    def __init__(self, frequencies: Mapping[str, int]) -> None:
        self._frequencies = frequencies
        self._skeletons: dict[str, str] = {}
        for word in sorted((word for word in frequencies if len(word) >= 4 and word.isalpha()), key=lambda word: frequencies[word]):
            if frequencies[word] >= COMMON:
                self._skeletons[_skeleton(word)] = word
        self.of = lru_cache(maxsize=50_000)(self._of)

    def known(self, word: str) -> bool:
        """Whether `word`, in small letters, is a standard one."""
        return self._frequencies.get(word, 0) > 0

    def frequency(self, word: str) -> int:
        """Return how often it was seen."""
        return self._frequencies.get(word, 0)

    def _of(self, word: str) -> tuple[str, frozenset[str]] | None:
        """Return the typo's name, and for a missed key the layouts on which it is one; None: no misspelling, or none that can be told."""
        if len(word) < 4 or not (word.isascii() and word.isalpha()) or self.known(word) or word in _SPELLINGS:
            return None
        if word[0] not in VOWELS and not any(letter in VOWELS for letter in word[1:-1]) and _skeleton(word) in self._skeletons:
            return "vowels dropped", frozenset()
        best: tuple[int, str, frozenset[str]] = (COMMON - 1, "", frozenset())
        for meant, typo, layouts in _undone(word):
            best = max(best, (self.frequency(meant), typo, layouts), key=lambda found: found[0])
        if not best[1] and self._is_merged(word):
            return "words merged", frozenset()
        return (best[1], best[2]) if best[1] else None

    def _is_merged(self, word: str) -> bool:
        return any(
            min(self.frequency(word[:place]), self.frequency(word[place:])) >= _MERGEABLE
            for place in range(1, len(word))
            if place > 1 or word[0] in "ai"
        )


def _skeleton(word: str) -> str:
    return word[0] + "".join(letter for letter in word[1:-1] if letter not in VOWELS) + word[-1]


def _undone(word: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield every word that one typo may have turned into `word`. The first letter is nearly always right."""
    for place in range(1, len(word) + 1):
        for letter in string.ascii_lowercase:
            yield word[:place] + letter + word[place:], "letter dropped", frozenset()
    for place in range(1, len(word)):
        if word[place] == word[place - 1]:
            yield word[:place] + word[place + 1 :], "letter doubled", frozenset()
        if place + 1 < len(word):
            yield word[:place] + word[place + 1] + word[place] + word[place + 2 :], "letters swapped", frozenset()
        for letter in string.ascii_lowercase:
            layouts = frozenset(layout for layout, near in KEYBOARDS.items() if word[place] in near[letter])
            if layouts:
                yield word[:place] + letter + word[place + 1 :], "key missed", layouts
