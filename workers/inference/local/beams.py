"""Reads a prompt once for all of its beams, and moves as little as it can while they are decoded.

Imports torch: only the in-process engine imports this.
"""

from __future__ import annotations

import torch
from transformers import DynamicCache, PreTrainedModel

from workers.inference.local.columns import in_place


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
        # Beams of one prompt share its columns, and beam search exchanges beams of one prompt alone: only what they wrote is moved.
        if not in_place(cache, beams, room + 1):
            cache.batch_repeat_interleave(beams)
    return cache
