"""The process of a foreign engine: `python -m workers.exports.engines.main`. See `workers.exports.children`."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from workers.errors import UserError
from workers.exports import children
from workers.exports.engines.engine import CannotAnswer, CannotLoad, ForeignEngine, Options
from workers.exports.roundtrip.reports import Divergence, ProbeReport, ProbeRequest

_NOTHING = 1e-9  # what is left of one by rounding


def work(asked: ProbeRequest) -> ProbeReport:
    """Load the export and answer; then let it judge the original's answers.

    Raises:
        UserError: the engine does not load it or refuses its prompts, or its template fails.
    """
    began = time.monotonic()
    options = Options(Path(asked.base) if asked.base else None, asked.dtype, asked.threads, asked.context)
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
    try:
        answers = [engine.answer(ids, asked.max_new_tokens) for ids in prompt_ids]
    except CannotAnswer as error:  # as where the export's template makes far longer prompts than the original's
        raise UserError(f"the export can't be asked: {error}. Export it again") from error
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
        mine = mine[:, :width]
        theirs = theirs[:, :width]
        found.append(divergence_of(mine.astype(np.float64), theirs.astype(np.float64)))
        same.append(mine.argmax(axis=1) == np.nanargmax(theirs, axis=1))
    each = np.concatenate(found)
    return Divergence(tokens=len(each), mean=float(each.mean()), largest=float(each.max()), same_best=float(np.concatenate(same).mean()))


def divergence_of(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Kullback-Leibler divergence of each row of log-probabilities, in nats.

    Words that `theirs` does not tell (NaN) count as one, which has what the others leave: that is at most the whole divergence.
    """
    chances, told = np.exp(mine), ~np.isnan(theirs)
    known = np.where(told, theirs, 0.0)
    apart = np.where(chances > 0, mine, 0.0) - known
    each = np.where(told & (chances > 0), chances * apart, 0.0).sum(axis=1)
    rest = np.where(told, 0.0, chances).sum(axis=1)
    left = 1.0 - np.where(told, np.exp(known), 0.0).sum(axis=1)
    each = each + np.where(rest > 0, rest * np.log(np.maximum(rest, _NOTHING) / np.maximum(left, _NOTHING)), 0.0)
    found: NDArray[np.float64] = np.maximum(each, 0.0)
    return found


if __name__ == "__main__":
    raise SystemExit(children.serve(ProbeRequest, work))
