"""Reads prompts into caches: what they share once for all of them, and on a CPU what was read a moment ago not again.

Imports torch: only the in-process engine imports this.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel

from workers.inference.local.columns import in_place, is_of_columns

PADDED_TOKENS = 16_384
"""Rows times padded length of one batch on a CPU: long posts make smaller batches, so memory has a bound."""

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Prefix:
    """What all prompts of a call begin with: its tokens, and its cache with one row; None where they share nothing."""

    length: int
    cache: DynamicCache | None


@dataclass(frozen=True)
class Rows:
    """Prompts side by side, each without what they share, and with padding before its own tokens.

    Attributes:
        inputs: token ids, shape (prompts, width).
        mask: 1 where a token stands and 0 where padding does, with what they share, shape (prompts, shared + width).
        position: of each token in its prompt, shape (prompts, width).
    """

    inputs: torch.Tensor
    mask: torch.Tensor
    position: torch.Tensor


@dataclass(frozen=True)
class ReadBatch:
    """Prompts that are read, but for their last tokens.

    Attributes:
        places: of the prompts in the call.
        cache: with some rows for each prompt, one after the other.
        mask: of the columns of the cache and of the last tokens, shape (prompts, columns + 1).
    """

    places: list[int]
    cache: DynamicCache
    mask: torch.Tensor


class PromptReader:
    """Reads prompts with a model.

    Args:
        model: that decodes.
        kept: what was read before and may be read again; None where nothing is kept.
    """

    def __init__(self, model: PreTrainedModel, kept: KeptPrompts | None = None) -> None:
        self._model = model
        self._kept = kept

    def prefix_of(self, prompts: Sequence[Ids], max_new_tokens: int) -> Prefix:
        """Read what all the prompts begin with."""
        # The padding lies between the prefix and a row's own tokens, where a window that slides would count it.
        longest = max(map(len, prompts), default=0) + max_new_tokens
        length = common_prefix(prompts) if prompts and longest <= self._window() else 0
        if not length:
            return Prefix(0, None)
        cache = DynamicCache(config=self._model.config)
        self._model(input_ids=self._tensor([list(prompts[0][:length])]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return Prefix(length, cache)

    def rows_of(self, prompts: Sequence[Ids], prefix: Prefix) -> Rows:
        """Return the prompts side by side, as the model reads them behind their prefix."""
        own = [prompt[prefix.length :] for prompt in prompts]
        width = max(map(len, own))
        padding = self._tensor([width - len(ids) for ids in own]).unsqueeze(1)
        column = torch.arange(width, device=self._model.device).unsqueeze(0)
        inputs = self._tensor([[0] * (width - len(ids)) + list(ids) for ids in own])
        mask = torch.cat([torch.ones_like(inputs[:, :1]).expand(-1, prefix.length), (column >= padding).long()], dim=1)
        return Rows(inputs, mask, prefix.length + (column - padding).clamp(min=0))

    def expanded(self, prefix: Prefix, rows: int, room: int) -> DynamicCache:
        """Return the prefix's cache for so many rows, each with room for so many columns more."""
        cache = DynamicCache(config=self._model.config)
        if prefix.cache is None:
            return cache
        cache.layers = list(prefix.cache.layers)
        if in_place(cache, rows, room):
            return cache
        cache = DynamicCache(config=self._model.config)
        for index, layer in enumerate(prefix.cache.layers):
            cache.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), index)
        return cache

    def keep(self, prompts: Sequence[Ids], prefix: Prefix, cache: DynamicCache) -> None:
        """Keep what was just read of these prompts, in the rows that `rows_of` gave them, for a second try."""
        if self._kept is not None:
            self._kept.add(prompts, prefix, cache)

    def read(self, prompts: Sequence[Ids], times: int, max_new_tokens: int, batch_size: int, padded: int) -> Iterator[ReadBatch]:
        """Read all but the last token of each prompt, in batches, for `times` rows each; what is kept is not read again."""
        kept = [place for place, prompt in enumerate(prompts) if self._kept is not None and prompt in self._kept]
        known = set(kept)
        others = [place for place in range(len(prompts)) if place not in known]
        for places in _batches_at(prompts, kept, batch_size, padded):
            assert self._kept is not None
            cache = self._kept.take([prompts[place] for place in places], DynamicCache(config=self._model.config))
            mask = self.rows_of([prompts[place] for place in places], Prefix(0, None)).mask
            yield ReadBatch(places, _repeated(cache, times, max_new_tokens + 1), mask)
        prefix = self.prefix_of([prompts[place] for place in others], max_new_tokens)
        for places in _batches_at(prompts, others, batch_size, padded):
            yield self._read(prompts, places, prefix, times, max_new_tokens)

    def _read(self, prompts: Sequence[Ids], places: list[int], prefix: Prefix, times: int, max_new_tokens: int) -> ReadBatch:
        rows = self.rows_of([prompts[place] for place in places], prefix)
        width = rows.inputs.shape[1]
        cache = self.expanded(prefix, len(places), width)
        if width > 1:
            self._model(
                input_ids=rows.inputs[:, :-1],
                attention_mask=rows.mask[:, :-1],
                position_ids=rows.position[:, :-1],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return ReadBatch(places, _repeated(cache, times, max_new_tokens + 1), rows.mask)

    def _window(self) -> float:
        """How many tokens back every layer sees."""
        config = self._model.config.get_text_config(decoder=True)
        if not any(DynamicCache(config=self._model.config).is_sliding):
            return math.inf
        sizes = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        return min((size for size in sizes if size), default=0)

    def _tensor(self, values: Sequence[int] | Sequence[list[int]]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._model.device)


@dataclass(frozen=True)
class _Kept:
    """A batch that was read: what its prompts share, and of each layer the keys and values of the columns behind it."""

    prefix: Prefix
    own: list[tuple[torch.Tensor, torch.Tensor]]
    prompts: Sequence[Ids]

    @property
    def size(self) -> int:
        shared = [] if self.prefix.cache is None else [(layer.keys, layer.values) for layer in self.prefix.cache.layers]
        return sum(keys.nbytes + values.nbytes for keys, values in [*self.own, *shared])

    def put(self, layer: int, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write all columns of a prompt but the last, up to the right end of these; shape (heads, width, size)."""
        width, length = keys.shape[1], len(self.prompts[row]) - 1
        begin, own = width - length, length - self.prefix.length
        for into, kept in zip((keys, values), self.own[layer], strict=True):
            into[:, width - own :] = kept[row, :, kept.shape[2] - own - 1 : -1]
        if self.prefix.cache is not None:
            shared = self.prefix.cache.layers[layer]
            for into, kept in zip((keys, values), (shared.keys, shared.values), strict=True):
                into[:, begin : begin + self.prefix.length] = kept[0]


class KeptPrompts:
    """Keys and values of prompts that were read lately; the oldest batch is let go first. For one model: `clear` it with its weights.

    Args:
        most_bytes: that they may take.

    Attributes:
        bytes: that they take.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._batches: deque[_Kept] = deque()
        self._places: dict[Ids, tuple[_Kept, int]] = {}
        self.bytes = 0

    def __contains__(self, prompt: Ids) -> bool:
        """Whether it is there."""
        return prompt in self._places

    def add(self, prompts: Sequence[Ids], prefix: Prefix, cache: DynamicCache) -> None:
        """Keep a batch whose prompts are the rows of a cache, if its layers hold all their columns, and it is no larger than all may be."""
        if not is_of_columns(cache):
            return
        views = [(layer.keys[:, :, prefix.length :], layer.values[:, :, prefix.length :]) for layer in cache.layers]
        size = _Kept(prefix, views, prompts).size
        if size > self._most_bytes:
            return
        # Before anything is copied: the bound holds at every moment.
        while self.bytes + size > self._most_bytes:
            self._let_go(self._batches.popleft())
        batch = _Kept(prefix, [(keys.clone(), values.clone()) for keys, values in views], prompts)
        self._batches.append(batch)
        self.bytes += size
        self._places.update((prompt, (batch, row)) for row, prompt in enumerate(prompts))

    def take(self, prompts: Sequence[Ids], cache: DynamicCache) -> DynamicCache:
        """Put all but the last column of these prompts into a cache, padded on the left."""
        found = [self._places[prompt] for prompt in prompts]
        width = max(map(len, prompts)) - 1
        for index, (some_keys, some_values) in enumerate(found[0][0].own):
            # What stands in the padding counts nothing, but must be numbers.
            keys, values = (one.new_zeros((len(prompts), one.shape[1], width, one.shape[3])) for one in (some_keys, some_values))
            for row, (batch, place) in enumerate(found):
                batch.put(index, place, keys[row], values[row])
            cache.update(keys, values, index)
        return cache

    def clear(self) -> None:
        """Let go of all of them."""
        self._batches.clear()
        self._places.clear()
        self.bytes = 0

    def _let_go(self, batch: _Kept) -> None:
        self.bytes -= batch.size
        for prompt in batch.prompts:
            if self._places.get(prompt, (None, 0))[0] is batch:
                del self._places[prompt]


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens all prompts share, at least one short of the shortest, so that each keeps a token of its own."""
    # The smallest and the greatest in lexical order differ as early as any two do.
    first, last = min(map(list, prompts)), max(map(list, prompts))
    limit = min(len(prompt) for prompt in prompts) - 1
    return next((place for place in range(limit) if first[place] != last[place]), limit)


def batches(lengths: Sequence[int], batch_size: int, padded: int = PADDED_TOKENS) -> Iterator[list[int]]:
    """Yield positions sorted by length, cut into batches of `batch_size` rows and at most `padded` tokens, padding included.

    What is left at the end joins the last batch if it is no more than a quarter of one: alone it would take almost as long.
    """
    batch: list[int] = []
    for place, row in enumerate(sorted(range(len(lengths)), key=lengths.__getitem__)):
        is_full = len(batch) >= batch_size and len(lengths) - place > batch_size // 4
        if batch and (is_full or (len(batch) + 1) * lengths[row] > padded):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _batches_at(prompts: Sequence[Ids], places: Sequence[int], batch_size: int, padded: int) -> Iterator[list[int]]:
    for batch in batches([len(prompts[place]) for place in places], batch_size, padded):
        yield [places[row] for row in batch]


def _repeated(cache: DynamicCache, times: int, room: int) -> DynamicCache:
    # Beams of one prompt share its columns, and beam search exchanges beams of one prompt alone: only what they wrote is moved.
    if cache.get_seq_length() and not in_place(cache, times, room):
        cache.batch_repeat_interleave(times)
    return cache
