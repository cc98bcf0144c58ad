"""Says how much memory this machine has for a rank, and how fast it trains."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.training import TrainingSpec
from workers.gpus.inventory import Gpu
from workers.memory import host_memory
from workers.settings import ENVIRONMENT

_FIRST_WITH_BFLOAT16 = 8

PEAK_TFLOPS = {
    "B200": 2250,
    "H200": 989,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L40": 181,
    "A40": 150,
    "A10": 125,
    "L4": 121,
    "V100": 125,
    "T4": 65,
    "RTX 4090": 165,
    "RTX 3090": 71,
}
"""Dense half-precision TFLOP/s by a part of a GPU's name, from NVIDIA's data sheets of these cards."""

USED_OF_PEAK = 0.3
"""What a training of short sequences makes of a GPU's peak: the lower end of the 30 to 46 % that PaLM's table 3 lists for language models
(Chowdhery et al., 2022, https://arxiv.org/abs/2204.02311)."""

LAUNCH_SECONDS, ADAPTED_LAUNCH_SECONDS = 0.005, 0.012
"""Seconds in which Python launches the kernels of one layer, forwards and backwards, without and with a LoRA adapter beside each linear
layer. Measured on two machines with one GPU, of whose time small micro-batches used 7 to 40 %: docs/training.md, "On one H100"."""

CORE_GFLOPS = 30
"""What a core of a server CPU with AVX-512 makes of a training in float32: of 38 to 54 GFLOP/s in products of matrices alone."""


@dataclass(frozen=True)
class Device:
    """Where ranks would run.

    Attributes:
        on_gpu: on GPUs, one a rank.
        bytes: of memory for one rank.
        dtype_bytes: of a weight.
        name: of the GPU or CPU.
    """

    on_gpu: bool
    bytes: int
    dtype_bytes: int
    name: str


def device_for(spec: TrainingSpec, gpus: Sequence[Gpu]) -> Device | None:
    """Return where this machine would run the ranks of a recipe; None where it asks for GPUs and there are none.

    The smallest card decides. What `dtype: auto` takes on a CPU is measured when ranks start: float32 is assumed, the larger.
    """
    if spec.device == "cuda" and not gpus:
        return None
    if spec.device == "cpu" or not gpus:
        return Device(False, host_memory() // spec.ranks_per_node, 2 if spec.asked_dtype in ("bfloat16", "float16") else 4, "CPU")
    smallest = min(gpus, key=lambda gpu: gpu.memory)
    return Device(True, smallest.memory, 4 if spec.asked_dtype == "float32" else 2, smallest.name)


def half_type(gpu: Gpu) -> str:
    """Return the type that `dtype: auto` takes on a GPU."""
    return "bfloat16" if gpu.capability is None or gpu.capability[0] >= _FIRST_WITH_BFLOAT16 else "float16"


def tokens_per_second(
    device: Device, spec: TrainingSpec, parameters: int, trainable: int, layers: int, example_tokens: float | None = None
) -> float | None:
    """Return what a table of cards and cores gives for all ranks together; None where the card is not in it.

    A token takes 2 operations a parameter forwards, 2 for the gradients that pass through, 2 for those of trained weights, and 2 more where
    activations are computed again. On a GPU a micro-batch takes at least what Python needs to launch its kernels: `LAUNCH_SECONDS` a layer.

    Args:
        device: that each rank has.
        spec: of the training.
        parameters: of the model with what is trained.
        trainable: those that are trained.
        layers: of the model.
        example_tokens: of an example on average; None: half of the recipe's longest.
    """
    operations = 4 * parameters + 2 * trainable + (2 * parameters if spec.gradient_checkpointing else 0)
    if not device.on_gpu:
        cores = len(os.sched_getaffinity(0))
        return cores * CORE_GFLOPS * 1e9 / operations
    peak = next((tflops for name, tflops in PEAK_TFLOPS.items() if name in device.name), None)
    if peak is None:
        return None
    tokens = spec.per_device_train_batch_size * (example_tokens or spec.max_length / 2)
    launching = layers * (ADAPTED_LAUNCH_SECONDS if spec.method in ("lora", "qlora") else LAUNCH_SECONDS)
    return spec.world_size * tokens / max(launching, tokens * operations / (peak * 1e12 * USED_OF_PEAK))


def visible(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Return those of the machine's GPUs that this process may use."""
    from workers.gpus.driver import visible_gpus

    names = visible_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES"), [gpu.uuid for gpu in gpus])
    return tuple(gpu for gpu in gpus if gpu.uuid in names)
