"""The process that answers as the model does here: `python -m workers.exports.weights.original`. See `workers.exports.children`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from schemas.chat import Message, Prompt, Role
from schemas.training import AskedDtype
from workers.exports import children
from workers.exports.roundtrip.reports import OriginalReport, OriginalRequest
from workers.exports.weights import tensors
from workers.inference.engine import Sampling
from workers.inference.local.engine import TransformersEngine


def work(asked: OriginalRequest) -> OriginalReport:
    """Answer the prompts, and look again at each answer token by token."""
    began = time.monotonic()
    tuned = Path(asked.tuned) if asked.tuned else None
    engine = TransformersEngine(asked.base, threads=asked.threads, device="cpu", dtype=cast("AskedDtype", asked.dtype))
    model = engine.model_of(tuned)
    loaded = time.monotonic() - began
    prompts: list[Prompt] = [tuple(Message(cast("Role", turn.role), turn.content) for turn in turns) for turns in asked.prompts]
    began = time.monotonic()
    written = engine.generate(prompts, Sampling(asked.max_new_tokens), tuned)
    seconds = time.monotonic() - began
    texts = [generation.texts[0] for generation in written]
    prompt_ids = [engine.chat.prompt_ids(prompt) for prompt in prompts]
    answer_ids = [engine.chat.answer_ids(text) for text in texts]
    margins = _judge(model, prompt_ids, answer_ids, asked)
    peak = children.peak_bytes()
    return OriginalReport(
        engine="tweetmill",
        prompts=[engine.chat.prompt_text(prompt) for prompt in prompts],
        prompt_ids=prompt_ids,
        texts=texts,
        answer_ids=answer_ids,
        ended=[generation.tokens_out < asked.max_new_tokens for generation in written],
        tokens_out=sum(generation.tokens_out for generation in written),
        seconds=seconds,
        load_seconds=loaded,
        peak_bytes=peak,
        conversations=[engine.chat.conversation(prompt) for prompt in prompts],
        margins=margins,
        dtype=engine.precision.dtype,
        ends=engine.chat.ends,
        end_text=engine.chat.end_text,
        template=engine.chat.portable_template,
        tensors=tensors.compare(model, Path(asked.whole), Path(asked.base)) if asked.whole else None,
    )


def _judge(model: Any, prompts: list[list[int]], answers: list[list[int]], asked: OriginalRequest) -> list[list[float]]:
    """Write the distributions of the first rows to a file; return the margins of all."""
    margins, kept = [], []
    for row, (prompt, ids) in enumerate(zip(prompts, answers, strict=True)):
        found = log_probabilities(model, prompt, ids)
        best = found.topk(2, dim=-1).values
        margins.append((best[:, 0] - best[:, 1]).tolist())
        if row < asked.distributions:
            kept.append(found.numpy())
    np.save(asked.logits, np.concatenate(kept))
    return margins


def log_probabilities(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Return the log-probabilities before each token of an answer, shape (len(answer), vocabulary), in float32."""
    with torch.inference_mode():
        ids = torch.tensor([[*prompt, *answer]], device=model.device)
        logits = model(input_ids=ids, logits_to_keep=len(answer) + 1).logits[0, :-1]
    return torch.log_softmax(logits.float(), dim=-1)


if __name__ == "__main__":
    raise SystemExit(children.serve(OriginalRequest, work))
