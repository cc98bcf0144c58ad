"""A cache that is written in place holds what a plain one holds, whichever rows go on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from workers.inference.local.columns import ColumnsLayer, closing_ranks, in_place, keep_rows

HEADS, WIDTH, SIZE = 2, 5, 4


class Chance:
    """Random keys and values, the same each time."""

    def __init__(self) -> None:
        self._chance = torch.Generator().manual_seed(0)

    def states(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = torch.randn(2, rows, HEADS, columns, SIZE, generator=self._chance)
        return keys, values

    def exchanged(self, prompts: int, beams: int) -> torch.Tensor:
        """Rows of which each beam goes on with one of its own prompt's."""
        return (torch.randint(beams, (prompts, beams), generator=self._chance) + torch.arange(prompts).unsqueeze(1) * beams).flatten()


def filled(states: tuple[torch.Tensor, torch.Tensor]) -> DynamicCache:
    cache = DynamicCache()
    cache.update(*states, 0)
    return cache


def same(one: DynamicCache, other: DynamicCache) -> bool:
    mine, theirs = one.layers[0], other.layers[0]
    return bool(torch.equal(mine.keys, theirs.keys) and torch.equal(mine.values, theirs.values))


def test_beams_that_are_exchanged() -> None:
    prompts, beams, room = 2, 3, 4
    chance = Chance()
    states = chance.states(prompts, WIDTH)
    ours, plain = filled(states), filled(states)
    plain.batch_repeat_interleave(beams)
    assert in_place(ours, beams, room)
    buffer = ours.layers[0].keys.data_ptr()
    for step in range(room):
        written = chance.states(prompts * beams, 1)
        for one, other in zip(ours.update(*written, 0), plain.update(*written, 0), strict=True):
            assert torch.equal(one, other)
        going_on = chance.exchanged(prompts, beams)
        for cache in (ours, plain):
            cache.reorder_cache(going_on)
        assert same(ours, plain)
        assert ours.get_seq_length() == plain.get_seq_length() == WIDTH + step + 1
    assert ours.layers[0].keys.data_ptr() == buffer, "it never grows by a copy"


@pytest.mark.parametrize("kind", ["in place", "plain"])
def test_rows_that_leave(kind: str) -> None:
    rows = 6
    chance = Chance()
    prefix = chance.states(1, WIDTH)
    ours, plain = filled(prefix), filled(prefix)
    plain.batch_repeat_interleave(rows)
    if kind == "plain":
        ours.batch_repeat_interleave(rows)
    else:
        assert in_place(ours, rows, 8)
    for staying in ([0, 2, 3, 5], [1, 2], [0, 1], [1]):
        written = chance.states(rows, 2)
        ours.update(*written, 0)
        plain.update(*written, 0)
        order = closing_ranks(staying)
        keep_rows(ours, order)
        plain.batch_select_indices(torch.tensor(order))
        assert same(ours, plain)
        rows = len(order)


def test_what_the_rows_share_is_left_as_it_was() -> None:
    prefix = filled(Chance().states(1, WIDTH))
    before = prefix.layers[0].keys.clone()
    cache = DynamicCache()
    cache.layers = list(prefix.layers)
    assert in_place(cache, 3, 2)
    cache.update(*Chance().states(3, 1), 0)
    assert torch.equal(prefix.layers[0].keys, before)


def test_a_layer_of_another_kind_is_left_alone() -> None:
    class Window(DynamicLayer):  # type: ignore[misc]
        pass

    cache = DynamicCache()
    assert not in_place(cache, 2, 2), "there is nothing to turn"
    cache.layers = [Window()]
    assert not in_place(cache, 2, 2)
    assert not isinstance(cache.layers[0], ColumnsLayer)


@given(st.integers(1, 40).flatmap(lambda rows: st.sets(st.integers(0, rows - 1), min_size=1)))
def test_the_last_rows_take_the_places_of_those_that_leave(rows: set[int]) -> None:
    order = closing_ranks(sorted(rows))
    assert set(order) == rows
    assert len(order) == len(rows)
    assert all(order[row] == row for row in rows if row < len(rows)), "who can stay does"
