"""Plans which examples each step learns from, and which of them each rank sees.

Every rank computes the same plan from the examples' lengths and the seed, so the ranks need not talk about data. It is made pool by
pool as the steps go on: of a million examples no list is ever kept but one permutation of their numbers.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POOL_BATCHES = 50


@dataclass(frozen=True)
class Visit:
    """The `number`-th time that an example is seen in this run. No two ranks ever share a number."""

    number: int
    index: int


class BatchPlan:
    """The global batch of every step, equal on every rank: `plan[step]`, and `len(plan)` steps.

    Each example is seen once before any is seen again. Within a pool of 50 batches they are sorted by length, so that little is
    padding, and the batches of a pool come in random order. Steps are cheap in their order; going back begins anew.

    Args:
        lengths: tokens of each example.
        steps: of the run.
        global_batch: examples a step.
        seed: decides the order, with the lengths.
    """

    def __init__(self, lengths: NDArray[np.int32] | Sequence[int], steps: int, global_batch: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._steps = steps
        self._global_batch = global_batch
        self._seed = seed
        self._rewind()

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> list[Visit]:
        if not 0 <= step < self._steps:
            raise IndexError(f"step {step} of {self._steps}")
        pool, at = divmod(step, POOL_BATCHES)
        if pool < self._pool:
            self._rewind()
        while self._pool < pool:
            self._next_pool()
        begin = self._order[at] * self._global_batch
        chosen = self._sorted[:, begin : begin + self._global_batch]
        return [Visit(number, index) for number, index in chosen.T.tolist()]

    def _rewind(self) -> None:
        self._pool = -1
        self._planned = 0
        self._shuffle_batches = random.Random(self._seed + 1)
        self._shuffle_examples = random.Random(self._seed)
        self._permutation: NDArray[np.int32] = np.empty(0, np.int32)

    def _next_pool(self) -> None:
        count = min(POOL_BATCHES, self._steps - self._planned // self._global_batch) * self._global_batch
        indices = np.concatenate(list(self._take(count)))
        numbers = np.arange(self._planned, self._planned + count)
        by_length = np.lexsort((numbers, self._lengths[indices]))
        self._sorted = np.stack([numbers[by_length], indices[by_length]])
        self._order = list(range(count // self._global_batch))
        self._shuffle_batches.shuffle(self._order)
        self._planned += count
        self._pool += 1

    def _take(self, count: int) -> list[NDArray[np.int32]]:
        """Return the examples of the next `count` visits, in parts."""
        parts = []
        while count > 0:
            if not len(self._permutation):
                # An array of C integers and not a list: a list of a million takes 40 MB.
                order = array("i", range(len(self._lengths)))
                self._shuffle_examples.shuffle(order)
                self._permutation = np.frombuffer(order, np.int32)[::-1]
            part, self._permutation = self._permutation[:count], self._permutation[count:]
            parts.append(part)
            count -= len(part)
        return parts


def micro_batches(batch: Sequence[Visit], rank: int, world_size: int, accumulation: int) -> list[list[Visit]]:
    """Return the part of a global batch that `rank` sees: of each of `accumulation` slices every `world_size`-th visit."""
    size = len(batch) // accumulation
    return [list(batch[at : at + size][rank::world_size]) for at in range(0, size * accumulation, size)]
