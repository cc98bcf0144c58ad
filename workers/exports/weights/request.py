"""Defines what the process that writes weights is asked and what it reports, as JSON. torch is not needed for it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from schemas.payloads import Quant
from workers.exports.roundtrip.reports import Tensors


class GgufRequest(BaseModel):
    """A GGUF file to be written: its path, the number format, and what it says of itself."""

    model_config = ConfigDict(frozen=True)

    path: str
    quant: Quant
    name: str
    licence: str


class BuildRequest(BaseModel):
    """What to write.

    Attributes:
        base: folder of the base model.
        tuned: folder of the tuned model on it; None for the base alone.
        out: folder, which is there.
        weights: `whole` writes merged weights; `none` leaves them to the caller, who has an adapter.
        gguf: write this file beside them, and nothing else in the end.
        compare: a GGUF file whose tensors are held against the merged weights.
        max_new_tokens: of an answer, for the generation config.
        sample: a prompt, system turn and user turn, that the export's README shows.
        threads: CPU threads.
    """

    model_config = ConfigDict(frozen=True)

    base: str
    tuned: str | None
    out: str
    weights: Literal["whole", "none"]
    gguf: GgufRequest | None = None
    compare: str | None = None
    max_new_tokens: int
    sample: tuple[str, str]
    threads: int


class BuildReport(BaseModel):
    """What was written.

    Attributes:
        parameters: how many; 0 where no weights were written.
        end_of_turn: what closes an answer.
        end_text: the same where no token does it, so that engines must be told.
        context: tokens that the model takes.
        model_type: of its config.
        messages: the sample as a user sends it.
        prompt: the sample as the template writes it.
        notes: what llama.cpp does otherwise, in sentences.
        tensors: what a comparison found.
        around: what the template writes before the system's text, between it and the user's, and after that.
    """

    model_config = ConfigDict(frozen=True)

    parameters: int
    end_of_turn: str
    end_text: str
    context: int
    model_type: str
    messages: list[dict[str, Any]]
    prompt: str
    around: tuple[str, str, str]
    notes: tuple[str, ...] = ()
    tensors: Tensors | None = None
