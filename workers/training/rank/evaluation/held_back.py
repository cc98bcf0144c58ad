"""Reads the examples that are evaluated on during a training: their token ids, and what SARI needs of their text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.chat import Message, Prompt
from workers.base_models.chat_template import chat_format
from workers.training.rank.examples.conversations import TokenizedExample


@dataclass(frozen=True)
class EvalRow:
    """One example: the tweet as it was sent, what should be written of it, and both as the model reads them."""

    tweet: str
    reference: str
    example: TokenizedExample


def read_rows(path: Path, tokenizer: Any, max_length: int) -> list[EvalRow]:
    """Return the examples of at most `max_length` tokens, the longest first, so that little of a batch is padding.

    Raises:
        OSError: the file can't be read.
        UnusableTemplate: the tokenizer's chat template can't be used.
    """
    chat = chat_format(tokenizer)
    rows: list[EvalRow] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            told = json.loads(line)
            prompt: Prompt = tuple(Message(message["role"], message["content"]) for message in told["prompt"])
            asked, answer = chat.prompt_ids(prompt), chat.answer_ids(told["completion"])
            example = TokenizedExample(np.array(asked + answer, np.int32), len(answer))
            if len(example) <= max_length:
                rows.append(EvalRow(told["tweet"], told["completion"], example))
    return sorted(rows, key=lambda row: len(row.example), reverse=True)
