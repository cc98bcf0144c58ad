"""Bounds the words of a beam while it is decoded. Imports torch: only the in-process engine imports this."""

from __future__ import annotations

from typing import Any

import torch

# Byte-level vocabularies write the bytes 0 to 32 as the letters from 256 on: a space is `Ġ`.
_WHITE = frozenset("▁ \t\n\r") | {chr(256 + byte) for byte in (*range(9, 14), *range(28, 33))}


class WordBudget:
    """A logits processor: a row that has `max_words` words may end its last word or itself, but begin no other word.

    Cutting a finished text leaves half a sentence. Bounded while it is written, a beam that runs into the bound pays for its bad
    ending with its likelihood, and one that planned a short sentence overtakes it.
    """

    def __init__(self, begins_word: torch.Tensor, prompt_width: int, max_words: int) -> None:
        """Take `begins_word`, shape (vocabulary,), true for tokens that begin a word; prompts are `prompt_width` tokens wide."""
        self._begins_word = begins_word
        self._prompt_width = prompt_width
        self._max_words = max_words

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Forbid further words where the bound is reached. Both shapes are (rows, …); the scores' second axis is the vocabulary."""
        written = input_ids[:, self._prompt_width :]
        if written.shape[1] == 0:
            return scores
        # The first token begins a word whether or not a space stands before it.
        words = 1 + self._begins_word[written[:, 1:]].sum(dim=1)
        full = (words >= self._max_words).unsqueeze(1) & self._begins_word.unsqueeze(0)
        return scores.masked_fill(full, float("-inf"))


def tokens_that_begin_a_word(tokenizer: Any, vocabulary: int, device: str) -> torch.Tensor:
    """Return a mask of shape (vocabulary,), true where a token holds white space: `Ġ` in byte-level vocabularies, `▁` in SentencePiece."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(min(vocabulary, len(tokenizer)))))
    opens = [not _WHITE.isdisjoint(str(token or "")) for token in tokens]
    return torch.tensor(opens + [False] * (vocabulary - len(opens)), device=device)
