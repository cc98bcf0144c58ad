"""Defines the interface of foreign engines: programs of others that load an export as its users will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Conversation = Sequence[Mapping[str, str]]
"""Turns with `role` and `content`, as a user of the export sends them."""


class CannotLoad(RuntimeError):
    """The engine does not load the export: the message is one sentence that says why."""


class CannotAnswer(RuntimeError):
    """The engine refuses a request: the message says why."""


@dataclass(frozen=True)
class Options:
    """How to load an export.

    Attributes:
        base: folder of the base model, for an adapter.
        dtype: of the weights in memory, as torch calls it; an engine that computes as its file says leaves it out.
        threads: CPU threads.
        context: tokens of the longest prompt with its answer, for an engine that must know.
    """

    base: Path | None = None
    dtype: str = "float32"
    threads: int = 1
    context: int = 0


@dataclass(frozen=True)
class Answer:
    """What an engine wrote for a prompt: greedy, without the token that ends it; `ended` says whether there was one."""

    text: str
    ids: tuple[int, ...]
    ended: bool


class ForeignEngine(Protocol):
    """An export in memory. One prompt is answered at a time; a module's `load(folder, options)` returns one.

    Attributes:
        name: of the program, with its version: `transformers 5.23.0`.
    """

    name: str

    def prompt_text(self, conversation: Conversation) -> str:
        """Return the prompt that the engine's own template engine makes of the export's own template."""

    def prompt_ids(self, text: str) -> list[int]:
        """Return the token ids of a prompt, by the export's own tokenizer."""

    def answer(self, ids: Sequence[int], max_new_tokens: int) -> Answer:
        """Write greedily until the export's own stop token, or `max_new_tokens`."""

    def log_probabilities(self, ids: Sequence[int], answer: Sequence[int]) -> NDArray[np.float32] | None:
        """Return the natural logarithms of the probabilities before each token of `answer`, shape (len(answer), vocabulary).

        None where the engine does not tell them, NaN for a word whose own it does not tell: such words share what the others leave.
        """
