"""Clusters texts that say nearly the same (MinHash, exact Jaccard), so that none is both in training and in the test.

Candidates come from MinHash (Broder, "On the resemblance and containment of documents", 1997) with locality-sensitive hashing;
every candidate is checked by its exact Jaccard similarity. Of pairs right at the threshold one in a hundred is missed, of
nearer ones fewer.

Texts are read once and not kept. A text costs some 150 bytes of memory: a digest, one 32-bit number a band, its place among the
groups. The hashes of its shingles lie in a file.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasketch import MinHash
from numpy.typing import NDArray

from workers.text.sentences import normalise

SHINGLE = 3  # words
PERMUTATIONS = 128
RECALL = 0.99  # at the threshold; false candidates cost only a check

_TEXTS_AT_ONCE = 2048
_MIX = np.uint64(0x9E3779B97F4A7C15)

Numbers = NDArray[np.int32]
"""A cluster's number for each text."""


def clusters(texts: Iterable[str], threshold: float = 0.7, linked: Iterable[tuple[int, int]] = ()) -> list[int]:
    """Cluster texts into a list, for few of them; see `numbered`."""
    return [int(number) for number in numbered(texts, threshold, linked)]


def numbered(texts: Iterable[str], threshold: float = 0.7, linked: Iterable[tuple[int, int]] = (), folder: Path | None = None) -> Numbers:
    """Cluster texts; return the cluster of each, numbered from 0 in order of appearance.

    Two texts share a cluster if a chain joins them in which each step is equal by `normalise`, has at least `threshold` Jaccard
    similarity of word 3-shingles, or is one of `linked`, pairs of positions that belong together for other reasons.

    Args:
        texts: read once, as a stream.
        threshold: 1 joins equals alone.
        linked: read once, after the texts.
        folder: for the file of shingles.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        sketches = _Sketches(file, _bands(threshold) if threshold < 1 else (0, 1))
        sketches.read(texts)
        groups = _Groups(len(sketches.digests))
        firsts = _firsts(sketches.digests)
        groups.join_all(enumerate(firsts.tolist()))
        groups.join_all(linked)
        if threshold < 1:
            _join_similar(sketches, np.flatnonzero(firsts == np.arange(len(firsts))), threshold, groups)
    return groups.numbers()


def shingles(normalised: str) -> frozenset[str]:
    """Return all runs of three words; a shorter text is one shingle, so it is similar only to its equal."""
    words = normalised.split()
    return frozenset(" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the Jaccard similarity of two sets of shingles, from 0 to 1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


class _Sketches:
    """What is kept of each text: a digest, a hash for each band of its MinHash, and in a file the hashes of its shingles, sorted."""

    def __init__(self, file: Any, shape: tuple[int, int]) -> None:
        self._file = file
        self._count, self._rows = shape
        self._digests = bytearray()
        self._ends = array("Q", [0])
        self._parts: list[NDArray[np.uint32]] = []

    def read(self, texts: Iterable[str]) -> None:
        """Take the texts in."""
        stream = iter(texts)
        while part := list(itertools.islice(stream, _TEXTS_AT_ONCE)):
            normalised = [normalise(text) for text in part]
            self._digests += b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in normalised)
            if self._count:
                self._parts.append(self._banded([self._kept(shingles(text)) for text in normalised]))
        self._file.flush()
        self.digests = np.frombuffer(self._digests, dtype="S16")
        # One column a band, so that each is one run of memory.
        self.bands = np.concatenate(self._parts).T.copy() if self._parts else np.zeros((0, len(self.digests)), np.uint32)
        self._parts.clear()
        self._hashes = np.memmap(self._file, np.uint64, mode="r") if self._ends[-1] else np.zeros(0, np.uint64)

    def _kept(self, parts: frozenset[str]) -> list[int]:
        hashes = np.frombuffer(b"".join(hashlib.sha1(part.encode()).digest()[:8] for part in parts), np.uint64)  # noqa: S324
        self._file.write(np.sort(hashes).tobytes())
        self._ends.append(self._ends[-1] + len(hashes))
        return (hashes & np.uint64(0xFFFFFFFF)).tolist()  # type: ignore[no-any-return]

    def _banded(self, hashes: list[list[int]]) -> NDArray[np.uint32]:
        signatures = MinHash.generator(hashes, num_perm=PERMUTATIONS, hashfunc=int)
        used = self._count * self._rows
        bands = np.array([each.hashvalues[:used] for each in signatures], np.uint64).reshape(len(hashes), self._count, self._rows)
        mixed = np.zeros(bands.shape[:2], np.uint64)
        for row in range(self._rows):
            mixed = (mixed ^ bands[:, :, row]) * _MIX
            mixed ^= mixed >> np.uint64(29)
        return (mixed >> np.uint64(32)).astype(np.uint32)

    def near(self, one: int, others: NDArray[np.intp], threshold: float) -> NDArray[np.bool_]:
        """Return which of the others have at least `threshold` Jaccard similarity with `one`."""
        mine = self._shingles_of(one)
        theirs = [self._shingles_of(int(other)) for other in others]
        sizes = np.array([len(each) for each in theirs])
        every = np.concatenate(theirs)
        place = np.minimum(np.searchsorted(mine, every), len(mine) - 1)
        shared = np.add.reduceat(mine[place] == every, np.concatenate(([0], np.cumsum(sizes[:-1]))), dtype=np.int64)
        return np.asarray(shared / (len(mine) + sizes - shared) >= threshold)

    def _shingles_of(self, place: int) -> NDArray[np.uint64]:
        return self._hashes[self._ends[place] : self._ends[place + 1]]


def _firsts(digests: NDArray[np.bytes_]) -> NDArray[np.intp]:
    """Return for each text the position of the first one with the same digest."""
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    return np.asarray(first[inverse])


def _join_similar(sketches: _Sketches, places: NDArray[np.intp], threshold: float, groups: _Groups) -> None:
    """Join what is near among the texts at these places, each of which differs from the others."""
    for band in sketches.bands:
        for candidates in _candidates(band[places], places, groups.roots()):
            _join_near(sketches, candidates, threshold, groups)


def _candidates(band: NDArray[np.uint32], places: NDArray[np.intp], roots: Numbers) -> Iterator[NDArray[np.intp]]:
    """Yield the places that are equal in a band and not all joined already."""
    order = np.argsort(band, kind="stable")
    equal = np.flatnonzero(np.concatenate(([True], band[order][1:] != band[order][:-1]))) if len(order) else order
    ends = np.append(equal[1:], len(order))
    joined = roots[places[order]]
    if len(order):
        apart = np.minimum.reduceat(joined, equal) != np.maximum.reduceat(joined, equal)
        for start, end in zip(equal[apart], ends[apart], strict=True):
            yield places[order[start:end]]


def _join_near(sketches: _Sketches, candidates: NDArray[np.intp], threshold: float, groups: _Groups) -> None:
    roots = np.array([groups.root(int(each)) for each in candidates])
    for place, one in enumerate(candidates.tolist()):
        later = np.flatnonzero(roots[place + 1 :] != roots[place]) + place + 1
        if not len(later):
            continue
        near = later[sketches.near(one, candidates[later], threshold)]
        for other in candidates[near].tolist():
            groups.join(one, other)
        roots[np.isin(roots, roots[near])] = roots[place]


def _bands(threshold: float) -> tuple[int, int]:
    """Return the numbers of bands and of rows a band: as many rows as `RECALL` of pairs at the threshold allows: few false candidates."""
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if bands > 1 and 1 - (1 - threshold**rows) ** bands >= RECALL:
            return bands, rows
    return PERMUTATIONS, 1


class _Groups:
    """Union-find; the earliest member stands for its group."""

    def __init__(self, size: int) -> None:
        self._parent = array("i", range(size))

    def root(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parent[second] = first

    def join_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        for one, other in pairs:
            if one != other:
                self.join(one, other)

    def roots(self) -> Numbers:
        """Return the root of each member."""
        roots = np.array(self._parent, np.int32)
        while not np.array_equal(further := roots[roots], roots):
            roots = further
        return roots

    def numbers(self) -> Numbers:
        roots = self.roots()
        # The earliest member stands for its group, so that roots in ascending order are groups in order of appearance.
        return np.searchsorted(np.unique(roots), roots).astype(np.int32)
