"""Defines what the processes of a round trip are asked and what they report, as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Turn(_Message):
    """A turn of a prompt, before a template has seen it."""

    role: str
    content: str


class OriginalRequest(_Message):
    """Answer as the model does here.

    Attributes:
        base: folder of the base model.
        tuned: folder of the tuned model on it; None for the base alone.
        dtype: of the weights in memory; `auto` for what the machine computes fast.
        threads: CPU threads.
        prompts: of the tweets.
        max_new_tokens: of an answer.
        distributions: rows at most whose distributions are written to `logits`.
        logits: a file to write: an array of natural log-probabilities, shape (tokens, vocabulary), row after row.
        whole: folder of an export with whole weights, to be compared tensor by tensor.
    """

    base: str
    tuned: str | None
    dtype: str
    threads: int
    prompts: list[list[Turn]]
    max_new_tokens: int
    distributions: int
    logits: str
    whole: str | None = None


class ProbeRequest(_Message):
    """Answer with an export, loaded by a foreign engine.

    Attributes:
        engine: its module.
        folder: of the export.
        base: folder of the base model, for an adapter.
        conversations: turns as a user sends them.
        answers: token ids of the original's answers, ends included, to be judged by the export.
        logits: see `OriginalRequest`; of as many first rows as it holds.
        distributions: how many rows those are.
        context: tokens that the longest prompt takes with its answer.
    """

    engine: str
    folder: str
    base: str | None
    dtype: str
    threads: int
    conversations: list[list[dict[str, Any]]]
    answers: list[list[int]]
    max_new_tokens: int
    distributions: int
    logits: str
    context: int


class Answers(_Message):
    """What one side wrote, and what that took; lists are in the order of the rows.

    Attributes:
        engine: name and version.
        prompts: as the template wrote them.
        prompt_ids: their tokens.
        texts: the answers.
        answer_ids: their tokens. Of the original: as they are learnt, with what closes an answer.
        ended: whether the answer ended by itself.
        tokens_out: of all answers.
        seconds: to write them.
        load_seconds: to load the model.
        peak_bytes: of memory.
    """

    engine: str
    prompts: list[str]
    prompt_ids: list[list[int]]
    texts: list[str]
    answer_ids: list[list[int]]
    ended: list[bool]
    tokens_out: int
    seconds: float
    load_seconds: float
    peak_bytes: int


class Tensors(_Message):
    """What a comparison of tensors found.

    Attributes:
        compared: how many were.
        worst: largest difference of one, relative to the tensor's norm.
        wrong: names of tensors that are not the original's.
        of_base: those of them that are the base's.
        lacking: names that the export lacks.
    """

    compared: int
    worst: float
    wrong: list[str]
    of_base: list[str]
    lacking: list[str]


class OriginalReport(Answers):
    """The original's answers.

    Attributes:
        conversations: what a user of the export sends.
        margins: by how much the best token was likelier than the second, in nats, before each token of each answer.
        dtype: in which it computed.
        ends: tokens that close an answer, by their ids.
        end_text: the text that does, where no token does.
        template: that every export must have.
        tensors: see `OriginalRequest.whole`.
    """

    conversations: list[list[dict[str, Any]]]
    margins: list[list[float]]
    dtype: str
    ends: dict[int, str]
    end_text: str
    template: str
    tensors: Tensors | None


class Divergence(_Message):
    """How the export's distributions differ from the original's: Kullback-Leibler divergence before each token, in nats.

    Attributes:
        tokens: that were compared.
        mean: over them.
        largest: of one.
        same_best: share of tokens at which both find the same token likeliest.
    """

    tokens: int
    mean: float
    largest: float
    same_best: float


class ProbeReport(Answers):
    """The export's answers; no `divergence` where the engine tells no distributions."""

    divergence: Divergence | None
