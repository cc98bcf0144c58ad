"""Computes the learning rate of each step, and the number of steps."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["linear", "cosine", "constant"]


def steps_of(examples: int, epochs: float, global_batch: int, max_steps: int = -1) -> int:
    """Return the optimizer steps of a run: `max_steps` where it is given, else enough to visit each example `epochs` times."""
    if max_steps > 0:
        return max_steps
    return max(1, math.ceil(examples * epochs / global_batch))


def learning_rate(step: int, total_steps: int, peak: float, warmup_ratio: float, kind: Schedule) -> float:
    """Return the rate of `step` (from 0): a linear rise to `peak` over the warm-up, then along `kind` towards 0 at the end.

    The cosine is that of SGDR without restarts (Loshchilov and Hutter, 2017, https://arxiv.org/abs/1608.03983).
    """
    warmup = math.ceil(total_steps * warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / warmup
    if kind == "constant":
        return peak
    done = (step - warmup) / max(1, total_steps - warmup)
    return peak * (1 - done) if kind == "linear" else peak * (1 + math.cos(math.pi * done)) / 2
