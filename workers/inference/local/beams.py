"""Searches with beams for many short prompts: each prompt is read once, and one whose beams can't get better leaves the batch.

What comes out is what `transformers.generate` writes with `num_beams` and a length penalty of 1: a text counts by the mean log-probability
of its tokens, and a prompt is done when its best running beam counts less than the worst of its finished ones. `generate` decodes all
prompts of a batch until the last of them is done.

Imports torch: only the in-process engine imports this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import DynamicCache, PreTrainedModel

from workers.inference.local.columns import closing_ranks, keep_rows
from workers.inference.local.reading import PADDED_TOKENS, Ids, KeptPrompts, PromptReader, ReadBatch

_NEVER = -1e9
"""A score that no text has."""


class Processor(Protocol):
    """What forbids tokens: takes ids, shape (rows, width), and log-probabilities, shape (rows, vocabulary), and returns the latter."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the log-probabilities, with those of forbidden tokens as minus infinity."""
        ...


@dataclass
class _Search:
    """The beams of the prompts that are not done, in a buffer of their ids behind the last token of each prompt.

    Attributes:
        prompts: place of each prompt in the batch.
        running: ids, shape (prompts, beams, 1 + tokens of the longest text).
        scores: sums of log-probabilities, shape (prompts, beams).
        ended: the best texts that have ended, shaped as `running`.
        values: their mean log-probabilities; `_NEVER` where there is no text yet.
        are_texts: where there is one.
    """

    prompts: list[int]
    running: torch.Tensor
    scores: torch.Tensor
    ended: torch.Tensor
    values: torch.Tensor
    are_texts: torch.Tensor

    @classmethod
    def of(cls, last: torch.Tensor, beams: int, room: int) -> _Search:
        """Return the search before its first step. Only the first beam counts there, or all would write the same."""
        ids = torch.nn.functional.pad(last.unsqueeze(1), (0, room)).unsqueeze(1).repeat(1, beams, 1)
        scores = torch.full(ids.shape[:2], _NEVER, device=ids.device)
        scores[:, 0] = 0.0
        are_texts = torch.zeros_like(scores, dtype=torch.bool)
        return cls(list(range(len(last))), ids, scores, ids.clone(), torch.full_like(scores, _NEVER), are_texts)

    def keep(self, order: Sequence[int]) -> None:
        """Go on with these prompts alone, in this order."""
        rows = torch.tensor(order, device=self.running.device)
        self.prompts = [self.prompts[place] for place in order]
        self.running, self.scores, self.ended = self.running[rows], self.scores[rows], self.ended[rows]
        self.values, self.are_texts = self.values[rows], self.are_texts[rows]

    def step(self, log_probabilities: torch.Tensor, written: int, ends: Callable[[torch.Tensor], torch.Tensor], keep: int) -> torch.Tensor:
        """Take the best `keep` continuations of each prompt: those that end may be its texts, of the others the best run on.

        Args:
            log_probabilities: of the next token, shape (prompts, beams, vocabulary).
            written: tokens of each beam before this step.
            ends: whether candidates have ended, shape (prompts, keep); gets their ids.
            keep: how many.

        Returns:
            The beam of the same prompt that each running beam goes on from, shape (prompts, beams).
        """
        prompts, beams, vocabulary = log_probabilities.shape
        sums, places = (log_probabilities + self.scores.unsqueeze(2)).view(prompts, beams * vocabulary).topk(keep)
        sources = places // vocabulary
        candidates = _gathered(self.running, sources)
        candidates[:, :, 1 + written] = places % vocabulary
        have_ended = ends(candidates[:, :, : written + 2])

        onward, best = (sums + have_ended * _NEVER).topk(beams)
        self.running, self.scores = _gathered(candidates, best), onward

        # Only what is among the best of all may be a text: the others are there so that enough beams run on.
        are_texts = have_ended & (torch.arange(keep, device=sums.device) < beams)
        values = torch.cat([self.values, sums / (written + 1) + ~are_texts * _NEVER], dim=1)
        self.values, best_values = values.topk(beams)
        self.ended = _gathered(torch.cat([self.ended, candidates], dim=1), best_values)
        self.are_texts = torch.cat([self.are_texts, are_texts], dim=1).gather(1, best_values)
        return sources.gather(1, best)

    def can_improve(self, written: int) -> list[bool]:
        """Return for each prompt whether a running beam might still become a better text, after so many tokens."""
        best = self.scores[:, :1] / written
        worst = torch.where(self.are_texts, self.values.min(dim=1, keepdim=True).values, _NEVER)
        return list((best > worst).any(dim=1).tolist())


@dataclass(frozen=True)
class BeamLoop:
    """A model, what its texts end with, and what they may hold.

    Attributes:
        model: that decodes.
        end_ids: tokens that end a text.
        ends_by_text: whether rows of ids, shape (rows, width), have just ended by what they say; None where a token always says so.
        processors: what forbids tokens; their ids begin with the last token of the prompt.
        kept: what was read of prompts before.
    """

    model: PreTrainedModel
    end_ids: frozenset[int]
    ends_by_text: Callable[[torch.Tensor], torch.Tensor] | None = None
    processors: Sequence[Processor] = ()
    kept: KeptPrompts | None = None

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def decode(
        self, prompts: Sequence[Ids], beams: int, max_new_tokens: int, batch_size: int, padded: int = PADDED_TOKENS
    ) -> Iterator[tuple[int, list[list[int]]]]:
        """Yield (position in `prompts`, ids that `beams` beams wrote, best first, with what ends them and zeros behind it) of every prompt.

        Args:
            prompts: token ids.
            beams: of each prompt, and texts that are yielded.
            max_new_tokens: that a text may have.
            batch_size: prompts that are decoded together.
            padded: tokens that they may have in all, padding included.
        """
        for batch in PromptReader(self.model, self.kept).read(prompts, beams, max_new_tokens, batch_size, padded):
            last = torch.tensor([prompts[place][-1] for place in batch.places], device=self.model.device)
            yield from zip(batch.places, self._search(last, batch, beams, max_new_tokens), strict=True)

    def _search(self, last: torch.Tensor, batch: ReadBatch, beams: int, max_new_tokens: int) -> list[list[list[int]]]:
        keep = max(2, 1 + len(self.end_ids)) * beams
        cache, mask = batch.cache, batch.mask.repeat_interleave(beams, dim=0)
        search = _Search.of(last, beams, max_new_tokens)
        texts: list[list[list[int]]] = [[] for _ in last]
        for written in range(max_new_tokens):
            is_last = written + 1 == max_new_tokens
            chosen = self._log_probabilities(search.running[:, :, : 1 + written].flatten(0, 1), mask, cache)
            ends = _all_end if is_last else self._ends
            sources = search.step(chosen.view(len(search.prompts), beams, -1), written, ends, keep)
            staying = [] if is_last else [place for place, better in enumerate(search.can_improve(written + 1)) if better]
            for place in sorted(set(range(len(search.prompts))) - set(staying)):
                texts[search.prompts[place]] = search.ended[place, :, 1:].tolist()
            if not staying:
                break
            offsets = torch.arange(len(search.prompts), device=sources.device).unsqueeze(1) * beams
            cache.reorder_cache((sources + offsets).flatten())
            if len(staying) < len(search.prompts):
                order = closing_ranks(staying)
                search.keep(order)
                rows = [place * beams + beam for place in order for beam in range(beams)]
                keep_rows(cache, rows)
                mask = mask[torch.tensor(rows, device=mask.device)]
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        return texts

    def _log_probabilities(self, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """Return those of the next token after `ids`, shape (rows, width): all but the last column is in the cache."""
        output = self.model(
            input_ids=ids[:, -1:],
            attention_mask=mask,
            position_ids=mask.sum(dim=1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        found = torch.log_softmax(output.logits[:, -1].float(), dim=-1)
        for process in self.processors:
            found = process(ids, found)
        return found

    def _ends(self, candidates: torch.Tensor) -> torch.Tensor:
        """Return which candidates end with their last token; shape (prompts, candidates)."""
        ends = torch.isin(candidates[:, :, -1], torch.tensor(sorted(self.end_ids), dtype=torch.long, device=candidates.device))
        if self.ends_by_text is not None:
            ends |= self.ends_by_text(candidates.flatten(0, 1)).view(ends.shape)
        return ends


def _all_end(candidates: torch.Tensor) -> torch.Tensor:
    return torch.ones(candidates.shape[:2], dtype=torch.bool, device=candidates.device)


def _gathered(tensor: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return the rows at `places`, shape (prompts, some), of each prompt's; shape (prompts, some, width)."""
    return tensor.gather(1, places.unsqueeze(2).expand(-1, -1, tensor.shape[2]))
