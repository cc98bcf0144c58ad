"""Reads texts, or pairs of texts, with a model on the CPU, batch by batch, those of like length together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workers.base_models import loading
from workers.base_models.files import UnusableBase
from workers.scorers.scorer import Tick, UnusableScorer

_BATCH = 64
_LONGEST = 1024
"""Tokens of a text, or of a pair, at most: what a tweet and its summary need, whatever the model could read."""
_SPARE = 2  # positions that models of RoBERTa's kind count and never use

Text = tuple[str, ...]
"""One text, or two that are read as a pair."""


class Encoder:
    """A model and its tokenizer.

    Args:
        folder: of the model, checked.
        config: of the model.
        head: the class that loads it.
        purpose: of the model, for errors.
        longest: tokens that it reads at most; None: what its config says.

    Raises:
        UnusableScorer: it can't be loaded.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], head: loading.Head, purpose: str, longest: int | None = None) -> None:
        try:
            self._tokenizer = loading.load_tokenizer(folder)
            self._model = loading.load_encoder(folder, head)
        except UnusableBase as error:
            raise UnusableScorer(f"{purpose}: {error}") from None
        if not self._tokenizer.is_fast or self._tokenizer.pad_token_id is None:
            raise UnusableScorer(f"{purpose}: its tokenizer has no tokenizer.json, or no token to pad with. Save it with both")
        self._tokenizer.padding_side = "right"  # the first token stands for the text
        positions = (config.get("max_position_embeddings") or _LONGEST + _SPARE) - _SPARE
        self._longest = min(longest or _LONGEST, positions, self._tokenizer.model_max_length, _LONGEST)

    def read(self, texts: Sequence[Text], of_batch: Callable[[Any, Any], Any], tick: Tick) -> Iterator[Any]:
        """Yield for each text, in order, what `of_batch` makes of it.

        Args:
            texts: all of one or all of two parts; of a pair that is too long the longer part is cut.
            of_batch: gets the model's output and the tokenizer's encoding of a batch, and returns one value a text.
            tick: hears of each batch.
        """
        import torch

        order = sorted(range(len(texts)), key=lambda place: sum(map(len, texts[place])))
        found: list[Any] = [None] * len(texts)
        with _all_cores(), torch.inference_mode():
            for start in range(0, len(order), _BATCH):
                places = order[start : start + _BATCH]
                parts = zip(*(texts[place] for place in places), strict=True)
                encoded = self._tokenizer(
                    *map(list, parts),
                    padding=True,
                    truncation=True,
                    max_length=self._longest,
                    return_tensors="pt",
                )
                inputs = {name: encoded[name] for name in self._tokenizer.model_input_names if name in encoded}
                values = of_batch(self._model(**inputs), encoded)
                for place, value in zip(places, values, strict=True):
                    found[place] = value
                tick(len(places))
        yield from found


@contextmanager
def _all_cores() -> Iterator[None]:
    """Compute with all cores that this process may use, and afterwards with as many threads as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
