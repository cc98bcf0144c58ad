"""Chooses the floating-point type of weights by what the device computes fast. torch is imported when a choice is made, never before.

Many CPUs have no bfloat16 instructions: torch then emulates the type, at a quarter to a tenth of float32's speed; others have them, and are
slower with them. A flag alone does not tell (a hypervisor may hide it, `ONEDNN_MAX_CPU_ISA` may switch it off), so one matrix product of
each type is timed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from schemas.training import AskedDtype
from workers.errors import UserError

if TYPE_CHECKING:
    import torch

Dtype = Literal["float32", "bfloat16", "float16"]


SLOWER_AT_MOST = 1.25
"""How much longer a product in bfloat16 may take on a CPU: half the memory traffic wins so much back. With AMX a product takes a
quarter of the time; with AVX512-BF16 alone 1.8 times as long, and a training step twice; emulated, four to ten times as long."""

_SHAPE = (256, 1024, 1024)  # rows, inputs, outputs: like a small model's layer over a batch of tweets
_ROUNDS = 8
_BFLOAT16_CAPABILITY = 8  # compute capability of the first GPUs with bfloat16 units; `is_bf16_supported` counts emulation in


@dataclass(frozen=True)
class Precision:
    """A type for weights, and why it was taken: a clause for logs."""

    dtype: Dtype
    reason: str

    def __str__(self) -> str:
        """`bfloat16 (the recipe says so)`."""
        return f"{self.dtype} ({self.reason})"


@dataclass(frozen=True)
class Rates:
    """How fast this process's threads multiply two matrices.

    Attributes:
        float32: GFLOP/s.
        bfloat16: GFLOP/s.
        slower: how many times as much CPU time a product takes in bfloat16 as in float32. Unlike wall time it does not count what other
            processes do meanwhile, so that a busy machine chooses as a quiet one.
        threads: that shared the work.
    """

    float32: float
    bfloat16: float
    slower: float
    threads: int


def choose_dtype(asked: AskedDtype, device: str) -> Precision:
    """Choose the type to load weights in.

    Args:
        asked: what a recipe or setting says.
        device: `cuda` or `cpu`.

    Raises:
        UserError: this GPU does not compute in the type that was asked for.
    """
    if device == "cuda":
        return _on_gpu(asked)
    if asked != "auto":
        return Precision(asked, "asked for")
    slower = cpu_rates().slower
    reason = f"on this CPU a product takes {slower:.1f} times as long in bfloat16 as in float32"
    return Precision("float32" if slower > SLOWER_AT_MOST else "bfloat16", reason)


def _on_gpu(asked: AskedDtype) -> Precision:
    import torch

    major, minor = torch.cuda.get_device_capability()
    has_bfloat16 = major >= _BFLOAT16_CAPABILITY
    if asked == "bfloat16" and not has_bfloat16:
        raise UserError(f"this GPU (compute capability {major}.{minor}) has no bfloat16: set dtype to auto, float16 or float32")
    if asked != "auto":
        return Precision(asked, "asked for")
    return Precision("bfloat16" if has_bfloat16 else "float16", f"a GPU of compute capability {major}.{minor}")


@lru_cache(maxsize=1)
def cpu_rates() -> Rates:
    """Time products in both types, by turns, and take the best of each: a fifth of a second, once a process."""
    import torch

    rows, inputs, outputs = _SHAPE
    generator = torch.Generator().manual_seed(0)
    left, right = torch.rand(rows, inputs, generator=generator), torch.rand(outputs, inputs, generator=generator)
    operands = ((left, right), (left.bfloat16(), right.bfloat16()))
    threads = torch.get_num_threads()
    wall, wall_bfloat16 = _best(operands, time.perf_counter)
    # Of several threads, those that wait for one that was preempted spin, which is CPU time too.
    torch.set_num_threads(1)
    try:
        cpu, cpu_bfloat16 = _best(operands, time.thread_time)
    finally:
        torch.set_num_threads(threads)
    operations = 2 * rows * inputs * outputs / 1e9
    return Rates(operations / wall, operations / wall_bfloat16, cpu_bfloat16 / cpu, threads)


def _best(operands: Sequence[tuple[torch.Tensor, torch.Tensor]], clock: Callable[[], float]) -> list[float]:
    """The least that each product took by a clock, in seconds."""
    import torch

    best = [float("inf")] * len(operands)
    for _ in range(_ROUNDS):
        for number, (left, right) in enumerate(operands):
            began = clock()
            torch.nn.functional.linear(left, right)
            best[number] = min(best[number], clock() - began)
    return best


if __name__ == "__main__":
    # For whoever must not load torch: the rates and the choice as JSON.
    print(json.dumps({"dtype": choose_dtype("auto", "cpu").dtype, **asdict(cpu_rates())}))  # noqa: T201
