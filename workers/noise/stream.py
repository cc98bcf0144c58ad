"""Applies a profile to a stream of clean sentences, in constant memory."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from workers.files import sha256
from workers.noise.fitting import profile
from workers.noise.operations.fitted_style import Fitted


def noised(sentences: Iterable[str], document: str, name: str, seed: int, copies: int) -> Iterator[dict[str, Any]]:
    """Yield each sentence with its noise and how that came about.

    Raises:
        UserError: the document is no profile; before the first sentence is read.
    """
    return _rows(sentences, Fitted(profile.read(document, name)), seed, copies)


def _rows(sentences: Iterable[str], noise: Fitted, seed: int, copies: int) -> Iterator[dict[str, Any]]:
    for sentence in sentences:
        source = sha256(sentence)
        for copy in range(copies):
            # Of the sentence and not of its place: a line more or less changes no other line's noise.
            noisy = noise.apply(sentence, random.Random(f"apply {seed} {source} {copy}"))
            yield {
                "text": noisy.text,
                "clean": sentence,
                "operations": [asdict(operation) for operation in noisy.operations],
                "seed": seed,
                "copy": copy,
                "profile": noise.fingerprint,
            }
