"""Shows a training row as the model reads it: what the base's chat template makes of a prompt and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schemas.chat import Prompt
from workers.base_models.chat_template import chat_format
from workers.base_models.loading import load_tokenizer


@dataclass(frozen=True)
class TrainingText:
    """The two halves of a row and their tokens: the loss counts those of the answer alone."""

    prompt: str
    answer: str
    prompt_tokens: int
    answer_tokens: int


def training_text(folder: Path, prompt: Prompt, answer: str) -> TrainingText:
    """Return a row as it is learnt: the token ids of training, decoded.

    Raises:
        UserError: the folder's tokenizer can't be loaded, or has no chat template that can be used.
    """
    tokenizer = load_tokenizer(folder)
    form = chat_format(tokenizer)
    asked, answered = form.prompt_ids(prompt), form.answer_ids(answer)
    return TrainingText(str(tokenizer.decode(asked)), str(tokenizer.decode(answered)), len(asked), len(answered))
