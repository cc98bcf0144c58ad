"""Decodes many short prompts greedily: what they share is computed once, and a finished row leaves the batch.

Each batch is prefilled with its own tokens alone, behind the prefix that all prompts share (system turn and instruction), and decoded
until its last row ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from workers.inference.local.columns import closing_ranks, keep_rows
from workers.inference.local.reading import PADDED_TOKENS, Ids, KeptPrompts, Prefix, PromptReader, batches


@dataclass(frozen=True)
class LeanLoop:
    """A model with the ids at which it stops, and where no token says so, what knows that an answer has ended by its ids.

    Where there is `kept`, what is read of the prompts is kept there.
    """

    model: PreTrainedModel
    end_ids: frozenset[int]
    has_ended: Callable[[list[int]], bool] | None = None
    kept: KeptPrompts | None = None

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def decode(
        self, prompts: Sequence[Ids], max_new_tokens: int, batch_size: int, padded: int = PADDED_TOKENS
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield (position in `prompts`, new token ids without the end) of every prompt, shortest prompts first."""
        reader = PromptReader(self.model, self.kept)
        prefix = reader.prefix_of(prompts, max_new_tokens)
        for places in batches([len(prompt) for prompt in prompts], batch_size, padded):
            yield from zip(places, self._decode_batch(reader, [prompts[place] for place in places], prefix, max_new_tokens), strict=True)

    def _decode_batch(self, reader: PromptReader, prompts: Sequence[Ids], prefix: Prefix, max_new_tokens: int) -> list[list[int]]:
        rows = reader.rows_of(prompts, prefix)
        inputs, mask, position = rows.inputs, rows.mask, rows.position
        cache = reader.expanded(prefix, len(prompts), inputs.shape[1] + max_new_tokens)
        alive = list(range(len(prompts)))
        written: list[list[int]] = [[] for _ in prompts]
        for step in range(max_new_tokens):
            output = self.model(
                input_ids=inputs,
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            if step == 0:
                reader.keep(prompts, prefix, cache)
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
                staying = torch.tensor(order, device=self.model.device)
                mask, position, chosen = mask[staying], position[staying], chosen[staying]
                alive = [alive[slot] for slot in order]
            inputs = chosen.unsqueeze(1)
        return written
