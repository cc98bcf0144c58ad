"""Chooses how many rows are decoded together: by the memory that is free on a GPU, and fewer each time that memory runs out."""

from __future__ import annotations

from typing import Any

import torch

from workers.inference.local import reading

MOST_ROWS = 1024
BEAM_ROWS = 120
"""Beams that are alive together where nobody says how much memory is free: thirty prompts with four beams each."""

_SHARE = 0.5  # of what is free, for the cache; the rest is for activations, and for what else needs memory meanwhile
_LOGIT_BYTES = 8  # of each token of the vocabulary and row: as the model gives them, and in float32 beside it


class BatchSize:
    """The size of an engine's batches.

    Args:
        rows: of greedy decoding on a CPU, which does not say how much memory is left.
        device: `cpu` or `cuda`.
    """

    def __init__(self, rows: int, device: str) -> None:
        self._rows = rows
        self._on_gpu = device.startswith("cuda")
        self._divisor = 1

    def of(self, model: Any, longest: int, beams: int) -> tuple[int, int]:
        """Return how many prompts are decoded together, and how many tokens they may have in all, padded.

        Args:
            model: that decodes.
            longest: tokens of the longest prompt with its answer.
            beams: of each prompt.
        """
        if self._on_gpu:
            free, _ = torch.cuda.mem_get_info()
            spare = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()  # held by torch, and free within it
            rows = fitting_rows(free + spare, model.config.get_text_config(), model.dtype.itemsize, longest, beams)
            padded = rows * longest
        else:
            rows = self._rows if beams == 1 else min(self._rows, BEAM_ROWS // beams)
            padded = reading.PADDED_TOKENS
        return max(1, rows // self._divisor), max(1, padded // self._divisor)

    def halve(self) -> None:
        """Decode half as many rows together from now on."""
        self._divisor *= 2


def fitting_rows(free: int, config: Any, itemsize: int, longest: int, beams: int) -> int:
    """Return how many prompts of `longest` tokens, answers included, fit into `free` bytes, each with its beams.

    Args:
        free: bytes.
        config: of the text model, in Hugging Face's names.
        itemsize: bytes of a number in the cache.
        longest: tokens.
        beams: of each prompt; a step of beam search holds the cache twice, before and after it is put into a new order.
    """
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache: int = 2 * config.num_hidden_layers * heads * width * itemsize * longest * (2 if beams > 1 else 1)
    a_prompt = beams * (cache + _LOGIT_BYTES * config.vocab_size)
    return max(1, min(MOST_ROWS, int(_SHARE * free / a_prompt)))
