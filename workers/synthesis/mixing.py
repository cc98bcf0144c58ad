"""The proportions of a training set: how many examples of each origin stand beside each other."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from schemas.payloads import Ratios
from workers.errors import UserError
from workers.synthesis.rows import ExampleRow

_ORIGIN_OF = {"human": "human", "noise": "noise", "teacher": "teacher", "imports": "import"}


def shares(there: Mapping[str, int], ratios: Ratios) -> dict[str, int]:
    """How many of `there`, examples by origin, are kept so that they stand in the ratios: as many as the scarcest origin allows.

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


def mixed(examples: Sequence[ExampleRow], ratios: Ratios | None, seed: int, counts: Counter[str]) -> list[ExampleRow]:
    """The examples, those for training drawn so that they stand in the ratios; the test is left as it is."""
    if ratios is None:
        return list(examples)
    places: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        if example.split == "train":
            places.setdefault(example.origin, []).append(place)
    left_out: set[int] = set()
    for origin, kept in shares({origin: len(found) for origin, found in places.items()}, ratios).items():
        rng = random.Random(f"ratio {seed} {origin}")
        left_out |= set(rng.sample(places[origin], len(places[origin]) - kept))
    counts["left_out_by_ratio"] = len(left_out)
    return [example for place, example in enumerate(examples) if place not in left_out]
