"""Decodes many short prompts greedily: what they share is computed once, and a finished row leaves the batch.

The prefix that all prompts share (system turn and instruction) runs through the model once; its key/value cache is expanded over
every batch. Each batch is then prefilled with its own tokens alone, padded on the left, and decoded until its last row ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel

from workers.inference.local.columns import closing_ranks, in_place, keep_rows

PADDED_TOKENS = 16_384
"""Rows times padded length of one batch on a CPU: long posts make smaller batches, so memory has a bound."""


@dataclass(frozen=True)
class LeanLoop:
    """A model with the ids at which it stops, and where no token says so, what knows that an answer has ended by its ids."""

    model: PreTrainedModel
    end_ids: frozenset[int]
    has_ended: Callable[[list[int]], bool] | None = None

    def decode(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int, padded: int = PADDED_TOKENS
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield (position in `prompts`, new token ids without the end) of every prompt, shortest prompts first."""
        # The padding lies between the prefix and a row's own tokens, where a window that slides would count it.
        longest = max(map(len, prompts), default=0) + max_new_tokens
        shared = common_prefix(prompts) if longest <= self._window() else 0
        prefix = self._prefill_prefix(prompts[0][:shared]) if shared else None
        for rows in batches([len(prompt) for prompt in prompts], batch_size, padded):
            own = [list(prompts[row][shared:]) for row in rows]
            with torch.inference_mode():
                written = self._decode_batch(own, prefix, shared, max_new_tokens)
            yield from zip(rows, written, strict=True)

    def _window(self) -> float:
        """How many tokens back every layer sees."""
        config = self.model.config.get_text_config(decoder=True)
        if not any(DynamicCache(config=self.model.config).is_sliding):
            return math.inf
        sizes = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        return min((size for size in sizes if size), default=0)

    def _prefill_prefix(self, ids: Sequence[int]) -> DynamicCache:
        cache = DynamicCache(config=self.model.config)
        with torch.inference_mode():
            self.model(input_ids=self._tensor([list(ids)]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def _decode_batch(self, own: list[list[int]], prefix: DynamicCache | None, shared: int, max_new_tokens: int) -> list[list[int]]:
        width = max(len(ids) for ids in own)
        padding = self._tensor([width - len(ids) for ids in own]).unsqueeze(1)
        column = torch.arange(width, device=self.model.device).unsqueeze(0)
        inputs = self._tensor([[0] * (width - len(ids)) + ids for ids in own])
        mask = torch.cat([torch.ones_like(inputs[:, :1]).expand(-1, shared), (column >= padding).long()], dim=1)
        position = shared + (column - padding).clamp(min=0)

        cache = self._expanded(prefix, len(own), width + max_new_tokens)
        alive = list(range(len(own)))
        written: list[list[int]] = [[] for _ in own]
        for _ in range(max_new_tokens):
            output = self.model(
                input_ids=inputs,
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            chosen = output.logits[:, -1].argmax(dim=-1)
            ids = chosen.tolist()
            keep = [slot for slot, token in enumerate(ids) if token not in self.end_ids]
            for slot in keep:
                written[alive[slot]].append(ids[slot])
            if self.has_ended is not None:
                keep = [slot for slot in keep if not self.has_ended(written[alive[slot]])]
            if not keep:
                break
            position = position[:, -1:] + 1
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            if len(keep) < len(alive):
                order = closing_ranks(keep)
                keep_rows(cache, order)
                rows = self._tensor(order)
                mask, position, chosen = mask[rows], position[rows], chosen[rows]
                alive = [alive[slot] for slot in order]
            inputs = chosen.unsqueeze(1)
        return written

    def _expanded(self, prefix: DynamicCache | None, rows: int, room: int) -> DynamicCache:
        cache = DynamicCache(config=self.model.config)
        if prefix is None:
            return cache
        cache.layers = list(prefix.layers)
        if in_place(cache, rows, room):
            return cache
        cache = DynamicCache(config=self.model.config)
        for index, layer in enumerate(prefix.layers):
            cache.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), index)
        return cache

    def _tensor(self, values: Sequence[int] | Sequence[list[int]]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.model.device)


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens all prompts share, at least one short of the shortest, so that each keeps a token of its own."""
    # The smallest and the greatest in lexical order differ as early as any two do.
    first, last = min(map(list, prompts)), max(map(list, prompts))
    limit = min(len(prompt) for prompt in prompts) - 1
    return next((place for place in range(limit) if first[place] != last[place]), limit)


def batches(lengths: Sequence[int], batch_size: int, padded: int = PADDED_TOKENS) -> Iterator[list[int]]:
    """Yield positions sorted by length, cut into batches of at most `batch_size` rows and `padded` tokens, padding included."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * lengths[row] > padded):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
