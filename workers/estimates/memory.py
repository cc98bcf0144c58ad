"""Estimates the memory of one rank: weights, gradients, optimizer and activations, by method, precision, ZeRO stage and offload.

The sizes of what ZeRO shards are those of its paper (Rajbhandari et al., 2020, https://arxiv.org/abs/1910.02054), with DeepSpeed's buckets.
Activations are those of a micro-batch whose rows are all as long as the recipe allows: the most that can be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schemas.training import TrainingSpec
from workers.estimates.activations import Batch, Kernel, activation_bytes, completion_length
from workers.estimates.architecture import Architecture, count, read_architecture
from workers.estimates.parameters import Parameters, count_parameters

GIB = 2**30

_FP32 = 4
_MOMENTS = 2 * _FP32
_FOUR_BITS = 0.5 + _FP32 / 64  # bytes of a weight, with its share of the scale of a block of 64
_BUCKET = 20_000_000  # elements, as `workers.training.rank.zero.config` has it
_CONTEXT = int(0.75 * GIB)  # of CUDA, cuBLAS and NCCL on a GPU
_PROCESS = 650 * 2**20  # of a rank on a CPU: Python with torch and DeepSpeed, and what oneDNN takes with the first step
# What glibc's malloc keeps of memory that was freed, measured on a model of 135M by all methods: docs/training.md has the figures.
_KEPT_OF_ACTIVATIONS, _KEPT_OF_STATES = 0.5, 0.4
_SPARE = 0.04  # of a GPU's memory: what its allocator can't use


@dataclass(frozen=True)
class RankMemory:
    """Bytes that one rank needs at its peak.

    Attributes:
        weights, gradients, optimizer, activations: what a model takes in training.
        overhead: buckets of reductions, and what libraries take: on a GPU the context of CUDA, on a CPU the process and what malloc keeps.
        step: what the optimizer takes for a moment, when the activations are gone.
        host: what each rank puts into the host's memory instead, by offloading.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    overhead: int
    step: int
    host: int = 0

    @property
    def total(self) -> int:
        """The peak: activations and the optimizer's temporaries are never there together."""
        return self.weights + self.gradients + self.optimizer + self.overhead + max(self.activations, self.step)


@dataclass(frozen=True)
class Estimate:
    """What a training needs of each rank, and of what."""

    parameters: Parameters
    memory: RankMemory
    batch: Batch


def estimate(base: Architecture, spec: TrainingSpec, *, on_gpu: bool, dtype_bytes: int, batch: Batch | None = None) -> Estimate:
    """Return what a training needs.

    Args:
        base: the model that is tuned.
        spec: the recipe.
        on_gpu: whether ranks run on GPUs, where attention keeps no scores.
        dtype_bytes: of one weight.
        batch: a micro-batch; default: as many rows as the recipe says, all of `max_length`.

    Raises:
        UserError: the method does not fit the base.
    """
    parameters = count_parameters(base, spec)
    batch = batch or Batch(spec.per_device_train_batch_size, spec.max_length, completion_length(spec.max_length))
    kernel = Kernel(dtype_bytes, eager=not on_gpu)
    activations = activation_bytes(base, parameters, spec, batch, kernel)
    weights, weights_on_host = _weights(base, parameters, spec, dtype_bytes)
    optimizer = parameters.trainable * _optimizer_bytes(spec, dtype_bytes) // (spec.world_size if spec.zero_stage else 1)
    # The root of the second moment, and the gradients put together in fp32.
    temporaries = _FP32 if spec.zero_stage == 0 and dtype_bytes == _FP32 else 2 * _FP32
    step = temporaries * parameters.trainable // (spec.world_size if spec.zero_stage else 1)
    offloads = spec.offload_optimizer != "none"
    gradients = _gradients(parameters, spec, dtype_bytes)
    around = _CONTEXT if on_gpu else _PROCESS + int(_KEPT_OF_ACTIVATIONS * activations + _KEPT_OF_STATES * (gradients + optimizer))
    memory = RankMemory(
        weights=weights,
        gradients=gradients,
        optimizer=0 if offloads else optimizer,
        activations=activations,
        overhead=_buckets(parameters, spec) + around,
        step=0 if offloads else step,
        host=weights_on_host + (optimizer if offloads else 0),
    )
    return Estimate(parameters, memory, batch)


def estimate_folder(folder: Path, spec: TrainingSpec, *, on_gpu: bool, dtype_bytes: int) -> Estimate:
    """Return what a training of the base in a folder needs: see `estimate` and `read_architecture`."""
    return estimate(read_architecture(folder), spec, on_gpu=on_gpu, dtype_bytes=dtype_bytes)


def usable(total: int, *, on_gpu: bool) -> int:
    """Return how many bytes of a device's memory a rank may count on."""
    return int(total * (1 - _SPARE)) if on_gpu else total


def _weights(base: Architecture, parameters: Parameters, spec: TrainingSpec, dtype_bytes: int) -> tuple[int, int]:
    """Bytes of the weights on the device, and of those that are offloaded."""
    stored = int((parameters.total - parameters.quantized) * dtype_bytes + parameters.quantized * _FOUR_BITS)
    if spec.zero_stage < 3:
        return stored, 0
    # Whole for a moment: the layer that computes and the next, or the embedding.
    gathered = max(2 * max(map(count, base.layers)), base.vocabulary * base.hidden) * dtype_bytes
    gathered = gathered if spec.world_size > 1 or spec.offload_param != "none" else 0
    shard = stored // spec.world_size
    return (gathered, shard) if spec.offload_param != "none" else (shard + gathered, 0)


def _gradients(parameters: Parameters, spec: TrainingSpec, dtype_bytes: int) -> int:
    """ZeRO 0 sums gradients in the weights' type, the others in fp32; stages 2 and 3 keep a rank's part alone."""
    if spec.zero_stage == 0:
        return parameters.trainable * dtype_bytes
    whole = parameters.trainable * _FP32
    return whole if spec.zero_stage == 1 else whole // spec.world_size


def _optimizer_bytes(spec: TrainingSpec, dtype_bytes: int) -> int:
    """Bytes of a trained weight: both moments of Adam, and a copy in fp32, which ZeRO keeps of weights in fp32 too."""
    return _MOMENTS if spec.zero_stage == 0 and dtype_bytes == _FP32 else _MOMENTS + _FP32


def _buckets(parameters: Parameters, spec: TrainingSpec) -> int:
    """Gradients on their way to the ranks that keep them."""
    if spec.zero_stage == 0:
        return 0
    return min(_BUCKET, parameters.trainable) * _FP32
