"""The process of a foreign engine: `python -m workers.exports.engines.main`. See `workers.exports.children`."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np

from workers.errors import UserError
from workers.exports import children
from workers.exports.engines.engine import CannotLoad, ForeignEngine, Options
from workers.exports.roundtrip.reports import Divergence, ProbeReport, ProbeRequest


def work(asked: ProbeRequest) -> ProbeReport:
    """Load the export and answer; then let it judge the original's answers.

    Raises:
        UserError: the engine does not load it, or its template fails.
    """
    began = time.monotonic()
    options = Options(Path(asked.base) if asked.base else None, asked.dtype, asked.threads)
    try:
        engine = cast("ForeignEngine", import_module(f"workers.exports.engines.{asked.engine}").load(Path(asked.folder), options))
    except CannotLoad as error:
        raise UserError(str(error)) from error
    loaded = time.monotonic() - began
    try:
        prompts = [engine.prompt_text(conversation) for conversation in asked.conversations]
    except Exception as error:  # a template is a program, which may fail in any way
        raise UserError(f"the export's chat template fails in {engine.name}: {children.described(error)}") from error
    prompt_ids = [engine.prompt_ids(prompt) for prompt in prompts]
    began = time.monotonic()
    answers = [engine.answer(ids, asked.max_new_tokens) for ids in prompt_ids]
    seconds = time.monotonic() - began
    return ProbeReport(
        engine=engine.name,
        prompts=prompts,
        prompt_ids=prompt_ids,
        texts=[each.text for each in answers],
        answer_ids=[list(each.ids) for each in answers],
        ended=[each.ended for each in answers],
        tokens_out=sum(len(each.ids) for each in answers),
        seconds=seconds,
        load_seconds=loaded,
        divergence=_divergence(engine, prompt_ids, asked),
        peak_bytes=children.peak_bytes(),
    )


def _divergence(engine: ForeignEngine, prompts: list[list[int]], asked: ProbeRequest) -> Divergence | None:
    originals = np.load(asked.logits, mmap_mode="r")
    found: list[np.ndarray] = []
    same: list[np.ndarray] = []
    start = 0
    for prompt, answer_ids in list(zip(prompts, asked.answers, strict=True))[: asked.distributions]:
        theirs = engine.log_probabilities(prompt, answer_ids)
        if theirs is None:
            return None
        mine = np.asarray(originals[start : start + len(answer_ids)])
        start += len(answer_ids)
        width = min(mine.shape[1], theirs.shape[1])  # an embedding may have rows that no token has
        mine, theirs = mine[:, :width].astype(np.float64), theirs[:, :width].astype(np.float64)
        chances = np.exp(mine)
        found.append(np.where(chances > 0, chances * (mine - theirs), 0.0).sum(axis=1))
        same.append(mine.argmax(axis=1) == theirs.argmax(axis=1))
    each = np.maximum(np.concatenate(found), 0.0)
    return Divergence(tokens=len(each), mean=float(each.mean()), largest=float(each.max()), same_best=float(np.concatenate(same).mean()))


if __name__ == "__main__":
    raise SystemExit(children.serve(ProbeRequest, work))
