"""Holds examples back for the test without leaks: whole clusters go to one side, and only what people wrote is tested on."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from workers.errors import UserError

Split = Literal["train", "test"]

SMALLEST_TEST, LARGEST_TEST = 30, 200
"""Between these an automatic test is a fifth: fewer pairs tell little, more tell hardly more and are missed in training."""


@dataclass(frozen=True)
class Member:
    """What the split needs to know of a row: its cluster, whether a person wrote it, whether its tweet has over 20 words."""

    cluster: int
    human: bool
    long: bool = False


@dataclass
class _Cluster:
    number: int
    humans: int = 0
    long_humans: int = 0

    @property
    def long(self) -> bool:
        return self.long_humans * 2 > self.humans


@dataclass
class _Held:
    """Clusters held back so far."""

    clusters: set[int] = field(default_factory=set)
    rows: int = 0

    def fill(self, candidates: Sequence[_Cluster], room: int) -> None:
        for cluster in candidates:
            if 0 < cluster.humans <= room and cluster.number not in self.clusters:
                self.clusters.add(cluster.number)
                self.rows += cluster.humans
                room -= cluster.humans


def size_of_test(test_size: int | Literal["auto"], humans: int) -> int:
    """Return how many of `humans` rows are held back; `auto` is a fifth, from 30 to 200, and leaves at least half to learn from."""
    if test_size != "auto":
        return test_size
    return min(max(humans // 5, SMALLEST_TEST), LARGEST_TEST, humans // 2)


def hold_back(members: Iterable[Member], numbers: Sequence[int], test_size: int | Literal["auto"], seed: int) -> set[int]:
    """Draw the clusters of the test: at most `test_size` human rows, exactly that many when their clusters are single rows.

    Long tweets get the share in the test that they have among all human rows. What no person wrote but stands in a cluster that is held
    back may neither be learnt nor be tested on: the caller drops it.

    Args:
        members: the rows; those that no person wrote change nothing and may be left out.
        numbers: all clusters, in order; `range(n)` is the cheap way to say it.
        test_size: human rows to hold back, as of `size_of_test`.
        seed: draws the clusters.

    Raises:
        UserError: there are fewer human rows than `test_size`.
    """
    grouped: dict[int, _Cluster] = {}
    for row in members:
        if row.human:
            cluster = grouped.setdefault(row.cluster, _Cluster(row.cluster))
            cluster.humans += 1
            cluster.long_humans += row.long
    humans = sum(cluster.humans for cluster in grouped.values())
    test_size = size_of_test(test_size, humans)
    if humans == 0 or test_size == 0:
        return set()
    if test_size > humans:
        raise UserError(f"test_size asks for {test_size} pairs to be held back, but only {humans} are usable: lower it or curate more")
    order = list(numbers)
    random.Random(f"split {seed}").shuffle(order)
    shuffled = [grouped[number] for number in order if number in grouped]
    long_quota = round(test_size * sum(cluster.long_humans for cluster in shuffled) / humans)
    held = _Held()
    held.fill([cluster for cluster in shuffled if cluster.long], long_quota)
    held.fill([cluster for cluster in shuffled if not cluster.long], test_size - long_quota)
    held.fill(shuffled, test_size - held.rows)
    return held.clusters


def fair_shares(sizes: Sequence[int], limit: int) -> list[int]:
    """Divide `limit` evenly among kinds of these sizes; what one cannot fill goes to the others."""
    shares = [0] * len(sizes)
    by_size: dict[int, list[int]] = defaultdict(list)
    for kind, size in enumerate(sizes):
        by_size[size].append(kind)
    left, waiting = limit, len(sizes)
    for kind in (kind for size in sorted(by_size) for kind in by_size[size]):
        shares[kind] = min(sizes[kind], left // waiting)
        left -= shares[kind]
        waiting -= 1
    return shares
