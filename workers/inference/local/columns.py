"""Keys and values in buffers that are written in place, where a plain cache copies all of itself at each token.

Imports torch: only the in-process engine imports this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class ColumnsLayer(DynamicLayer):  # type: ignore[misc]
    """The keys and values of one layer, with room for columns that follow.

    Args:
        read: the layer that read the prompts or what they share, shape (prompts, heads, width, size).
        times: rows for each of its prompts.
        room: columns that may follow.
    """

    def __init__(self, read: DynamicLayer, times: int, room: int) -> None:
        super().__init__()
        self.dtype, self.device = read.dtype, read.device
        self._read = self._length = read.get_seq_length()
        self._keys, self._values = _buffer(read.keys, times, room), _buffer(read.values, times, room)
        self._rows = self._keys.shape[0]
        self._common = self._read if read.keys.shape[0] == 1 else 0  # columns that all rows have alike
        self._show()
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Write further columns behind those that are there, and return all of them."""
        end = self._length + key_states.shape[-2]
        self._keys[: self._rows, :, self._length : end] = key_states
        self._values[: self._rows, :, self._length : end] = value_states
        self._length = end
        self._show()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Give each row what row `beam_idx` of the same prompt wrote; shape (rows,)."""
        for buffer in (self._keys, self._values):
            written = buffer[: self._rows, :, self._read : self._length]
            written.copy_(written.index_select(0, beam_idx))

    def keep(self, rows: int, places: torch.Tensor, sources: torch.Tensor) -> None:
        """Go on with the first `rows` rows alone, of which those at `places` become those at `sources`."""
        if len(places):
            for buffer in (self._keys, self._values):
                own = buffer[:, :, self._common : self._length]
                own[places] = own[sources]
        self._rows = rows
        self._show()

    def _show(self) -> None:
        self.keys, self.values = self._keys[: self._rows, :, : self._length], self._values[: self._rows, :, : self._length]


def in_place(cache: DynamicCache, times: int, room: int) -> bool:
    """Turn the layers of a cache into such with `times` rows for each of its own; return whether they are of the kind that can be turned.

    A window that slides, or a state that is no cache of columns, can't.
    """
    if not is_of_columns(cache):
        return False
    for index, layer in enumerate(cache.layers):  # one by one, so that what was read is let go as soon as it is copied
        cache.layers[index] = ColumnsLayer(layer, times, room)
    return True


def is_of_columns(cache: DynamicCache) -> bool:
    """Whether each layer of a cache holds the keys and values of all its columns, and nothing else."""
    return bool(cache.layers) and all(type(layer) in (DynamicLayer, ColumnsLayer) for layer in cache.layers)


def keep_rows(cache: DynamicCache, order: Sequence[int]) -> None:
    """Go on with these rows of a cache, in this order; those that stay where they are cost nothing."""
    moved = [(place, row) for place, row in enumerate(order) if place != row]
    columns = [layer for layer in cache.layers if isinstance(layer, ColumnsLayer)]
    if len(columns) < len(cache.layers):
        cache.batch_select_indices(torch.tensor(order, device=cache.layers[0].keys.device))
        return
    pairs = torch.tensor(moved, dtype=torch.long, device=columns[0].device).reshape(-1, 2)
    for layer in columns:
        layer.keep(len(order), pairs[:, 0], pairs[:, 1])


def closing_ranks(keep: Sequence[int]) -> list[int]:
    """Return these rows in an order in which as many as can stay where they are: the last ones take the places of those that leave."""
    rows = set(keep)
    last = sorted(row for row in rows if row >= len(rows))
    return [row if row in rows else last.pop() for row in range(len(rows))]


def _buffer(read: torch.Tensor, times: int, room: int) -> torch.Tensor:
    """Return a buffer of shape (prompts * times, heads, width + room, size) that begins with what was read, so many times each."""
    prompts, heads, width, size = read.shape
    buffer = read.new_empty((prompts * times, heads, width + room, size))
    buffer[:, :, :width] = read.repeat_interleave(times, dim=0)
    return buffer
