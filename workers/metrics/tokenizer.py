"""Splits texts into words and marks as metrics of machine translation do."""

from __future__ import annotations

from functools import lru_cache

from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a


def tokens(text: str) -> list[str]:
    """Return the words and marks of a text in lower case, split as mteval-v13a does."""
    return str(_tokenizer()(text.lower())).split()


@lru_cache(maxsize=1)
def _tokenizer() -> Tokenizer13a:
    return Tokenizer13a()  # type: ignore[no-untyped-call]
