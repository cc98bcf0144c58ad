"""Texts that say nearly the same, put into clusters, so that none straddles training and test.

Candidates come from MinHash (Broder, "On the resemblance and containment of documents", 1997) with locality-sensitive hashing;
every candidate is checked by its exact Jaccard similarity. Of pairs right at the threshold one in a hundred is missed, of
nearer ones fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from datasketch import MinHash, MinHashLSH

from workers.synthesis.filters import normalise

SHINGLE = 3  # words
PERMUTATIONS = 128
RECALL = 0.99  # at the threshold; false candidates cost only a check


def clusters(texts: Sequence[str], threshold: float = 0.7, linked: Iterable[tuple[int, int]] = ()) -> list[int]:
    """The cluster of each text, numbered from 0 in order of appearance.

    Two texts share a cluster if a chain joins them in which each step is equal by `normalise`, has at least `threshold` Jaccard
    similarity of word 3-shingles, or is one of `linked`, pairs of positions that belong together for other reasons.
    """
    groups = _Groups(len(texts))
    firsts: dict[str, int] = {}
    for position, text in enumerate(texts):
        groups.join(firsts.setdefault(normalise(text), position), position)
    for one, other in linked:
        groups.join(one, other)
    if threshold < 1:
        _join_similar(list(firsts.values()), [shingles(text) for text in firsts], threshold, groups)
    return groups.numbers()


def shingles(normalised: str) -> frozenset[str]:
    """Runs of three words; a shorter text is one shingle, so it is similar only to its equal."""
    words = normalised.split()
    return frozenset(" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared shingles among all."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _join_similar(positions: list[int], sets: list[frozenset[str]], threshold: float, groups: _Groups) -> None:
    index = MinHashLSH(num_perm=PERMUTATIONS, params=_bands(threshold))
    encoded = ([shingle.encode() for shingle in sorted(every)] for every in sets)
    for number, signature in enumerate(MinHash.generator(encoded, num_perm=PERMUTATIONS)):
        for candidate in index.query(signature):
            apart = groups.root(positions[candidate]) != groups.root(positions[number])
            if apart and jaccard(sets[candidate], sets[number]) >= threshold:
                groups.join(positions[candidate], positions[number])
        index.insert(number, signature, check_duplication=False)


def _bands(threshold: float) -> tuple[int, int]:
    """Bands and rows a band: as many rows, for as few false candidates, as `RECALL` of pairs at the threshold allows."""
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if bands > 1 and 1 - (1 - threshold**rows) ** bands >= RECALL:
            return bands, rows
    return PERMUTATIONS, 1


class _Groups:
    """Union-find; the earliest member stands for its group."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parent[second] = first

    def numbers(self) -> list[int]:
        order: dict[int, int] = {}
        return [order.setdefault(self.root(item), len(order)) for item in range(len(self._parent))]
