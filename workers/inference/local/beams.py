"""Reads a prompt once for all of its beams, and moves as little as it can while they are decoded.

Imports torch: only the in-process engine imports this.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


class BeamLayer(DynamicLayer):  # type: ignore[misc]
    """The keys and values of one layer for beams, in one buffer that is written in place.

    Beams of one prompt share its columns, and beam search exchanges beams of one prompt alone: to reorder them moves what they wrote, and
    not the prompt. A plain layer copies all of it twice a token, once to grow and once to reorder.

    Args:
        read: the layer that read the prompts, shape (prompts, heads, width, size); it gives up its tensors.
        beams: of each prompt.
        room: columns that may follow.
    """

    def __init__(self, read: DynamicLayer, beams: int, room: int) -> None:
        super().__init__()
        self.dtype, self.device = read.dtype, read.device
        self._read = self._length = read.get_seq_length()
        self._keys, self._values = _buffer(read.keys, beams, room), _buffer(read.values, beams, room)
        read.reset()
        self._show()
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Write further columns behind those that are there, and return all of them."""
        end = self._length + key_states.shape[-2]
        self._keys[:, :, self._length : end] = key_states
        self._values[:, :, self._length : end] = value_states
        self._length = end
        self._show()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Give each row what row `beam_idx` of the same prompt wrote; shape (rows,)."""
        for buffer in (self._keys, self._values):
            written = buffer[:, :, self._read : self._length]
            written.copy_(written.index_select(0, beam_idx))

    def _show(self) -> None:
        self.keys, self.values = self._keys[:, :, : self._length], self._values[:, :, : self._length]


def read_once(model: PreTrainedModel, inputs: torch.Tensor, mask: torch.Tensor, beams: int, room: int) -> DynamicCache:
    """Return the cache of all but the last token of each prompt, repeated for its beams, as `model.generate` wants it.

    Without it `generate` repeats the prompts first and reads each of them once a beam.

    Args:
        model: that decodes.
        inputs: token ids padded on the left, shape (prompts, width).
        mask: 1 where a token stands and 0 where padding does, of the same shape.
        beams: of each prompt.
        room: tokens that are decoded at most.
    """
    cache = DynamicCache(config=model.config)
    if inputs.shape[1] > 1:
        position = (mask.cumsum(dim=1) - 1).clamp(min=0)
        model(
            input_ids=inputs[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=position[:, :-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        if all(type(layer) is DynamicLayer for layer in cache.layers):
            cache.layers = [BeamLayer(layer, beams, room + 1) for layer in cache.layers]
        else:  # a window that slides, or a state that is no cache of columns
            cache.batch_repeat_interleave(beams)
    return cache


def _buffer(read: torch.Tensor, beams: int, room: int) -> torch.Tensor:
    """Return a buffer of shape (prompts * beams, heads, width + room, size) that begins with what was read, once a beam."""
    prompts, heads, width, size = read.shape
    buffer = read.new_empty((prompts * beams, heads, width + room, size))
    buffer[:, :, :width] = read.repeat_interleave(beams, dim=0)
    return buffer
