"""Computes how many examples of each origin a training set gets, by the ratios of the recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from schemas.synthesis import Ratios
from workers.errors import UserError

_ORIGIN_OF = {"human": "human", "noise": "noise", "teacher": "teacher", "imports": "import"}


def shares(there: Mapping[str, int], ratios: Ratios) -> dict[str, int]:
    """Return how many of `there`, examples by origin, are kept so that they stand in the ratios: as many as the scarcest origin allows.

    Raises:
        UserError: an origin with a ratio has no examples, so that nothing can stand in that ratio to it.
    """
    wanted = {_ORIGIN_OF[name]: ratio for name, ratio in ratios.model_dump(exclude_none=True).items()}
    for origin, ratio in wanted.items():
        if ratio and not there.get(origin):
            raise UserError(
                f"ratios name {origin}, but no training example is of that origin: leave it out of the ratios, or add its source"
            )
    scale = min((there[origin] / ratio for origin, ratio in wanted.items() if ratio), default=0.0)
    return {origin: round(scale * wanted[origin]) if origin in wanted else number for origin, number in there.items()}


def draw_positions(keys: NDArray[np.bytes_], number: int, seed: int) -> NDArray[np.intp]:
    """Draw `number` of the keys by a hash of key and seed, so that a row more or less changes little; return their places."""
    salt = f"ratio {seed} ".encode()
    lots = np.fromiter((int.from_bytes(hashlib.blake2b(salt + bytes(key), digest_size=8).digest()) for key in keys), np.uint64, len(keys))
    return np.sort(np.argsort(lots, kind="stable")[:number])
