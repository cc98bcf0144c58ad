"""Counts the bytes of activations that a backward pass needs, by the tensors that autograd keeps in transformers' decoder layers.

They were read off saved-tensor hooks on Llama, Qwen and Gemma, which a test does again. A token keeps in each layer: four times the
feed-forward's width, the inputs of attention and feed-forward, queries, keys, values, and what the attention returns. Each norm
computes in fp32 and keeps its input so. A frozen linear layer keeps no input, unless an adapter lies beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from schemas.training import TrainingSpec
from workers.estimates.architecture import Architecture
from workers.estimates.parameters import LayerUse, Parameters

_FP32 = 4
LOGIT_BYTES = 14
"""Of one logit in bfloat16: itself and its gradient, and in fp32 a copy, its log-softmax, and their gradient."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    Attributes:
        rows: sequences.
        length: tokens of each, padding included.
        completion: tokens of each of which the loss is taken.
    """

    rows: int
    length: int
    completion: int

    @property
    def tokens(self) -> int:
        """Tokens, padding included."""
        return self.rows * self.length


@dataclass(frozen=True)
class Kernel:
    """How the attention computes: `eager`, with all scores in memory, on CPUs; else one fused kernel that keeps none."""

    dtype_bytes: int
    eager: bool


def layer_bytes(base: Architecture, use: LayerUse, spec: TrainingSpec, adapters: int, batch: Batch, kernel: Kernel) -> int:
    """Return the bytes that one layer keeps for a micro-batch; 0 below the lowest layer that is trained.

    Args:
        base: whose layer it is.
        use: of the layer.
        spec: of the training.
        adapters: linear layers of it with an adapter.
        batch: its sizes.
        kernel: of the attention.
    """
    if not use.in_graph:
        return 0
    width, hidden = kernel.dtype_bytes, base.hidden
    query, key = base.heads * base.head_dim, base.kv_heads * base.head_dim
    keeps_inputs = use.trained or adapters > 0
    token = width * (3 * base.intermediate + 2 * query) + _FP32 * base.norms * hidden
    token += width * (base.intermediate + 2 * hidden) * keeps_inputs
    if base.head_norms:
        token += _FP32 * (query + key)
    if use.trained:
        # What a trained scale multiplies: Gemma's is multiplied in fp32.
        scaled = _FP32 * base.norms * hidden if base.family.startswith("gemma") else width * 2 * hidden
        token += scaled + (width * (query + key) if base.head_norms else 0)
    token += width * adapters * spec.lora_r
    if adapters and spec.lora_dropout:
        token += (width + 1) * _adapted_inputs(base)
    if adapters and spec.use_dora:
        token += 2 * width * _adapted_outputs(base)
    if kernel.eager:
        scores = base.heads * batch.length * (_FP32 + (width if width != _FP32 else 0) + width * base.softcap)
        token += 2 * width * query + scores  # keys and values are repeated for each head
    else:
        token += 2 * width * key + _FP32 * base.heads
    return batch.tokens * token


def activation_bytes(base: Architecture, parameters: Parameters, spec: TrainingSpec, batch: Batch, kernel: Kernel) -> int:
    """Return the bytes of activations at the peak of one micro-batch: what is kept, the logits, and what a layer's gradient takes."""
    adapters = round(parameters.adapters / len(base.layers))
    layers = [layer_bytes(base, use, spec, adapters, batch, kernel) for use in parameters.layers]
    inputs = batch.tokens * base.hidden * kernel.dtype_bytes
    # With checkpointing each layer keeps its input, and the one whose gradient is computed keeps all for a moment.
    checkpointed = inputs * sum(1 for size in layers if size) + max(layers, default=0)
    kept = min(checkpointed, sum(layers)) if spec.gradient_checkpointing else sum(layers)
    gradients = batch.tokens * kernel.dtype_bytes * 3 * base.intermediate
    return kept + inputs + max(logit_bytes(base, batch, kernel), gradients)


def logit_bytes(base: Architecture, batch: Batch, kernel: Kernel) -> int:
    """Return the most bytes that the logits of completions of at most this length take, with all that the loss makes of them.

    From as many predictions on as the residual stream is wide, the loss takes them in chunks, each of as many logits as all predictions
    have inputs: `workers.training.rank.completion_loss`, and torch's `LinearCrossEntropyOptions`.
    """
    each = LOGIT_BYTES if kernel.dtype_bytes < _FP32 else 3 * _FP32
    predictions = batch.rows * batch.completion
    if predictions < base.hidden or base.vocabulary <= base.hidden:
        return predictions * base.vocabulary * each
    chunk = math.ceil(predictions / math.ceil(base.vocabulary / base.hidden))
    # Shorter completions may make just too few predictions to be taken in chunks, which is more.
    whole = (base.hidden - 1) * base.vocabulary * each if batch.rows < base.hidden else 0
    return max(chunk * base.vocabulary * each + predictions * base.hidden * _FP32, whole)


def _adapted_inputs(base: Architecture) -> int:
    return sum(shape[1] for name, shape in base.layers[0].items() if len(shape) == 2 and name.endswith("weight"))


def _adapted_outputs(base: Architecture) -> int:
    return sum(shape[0] for name, shape in base.layers[0].items() if len(shape) == 2 and name.endswith("weight"))


def completion_length(max_length: int) -> int:
    """Return how many tokens a completion is taken for where the data is not known: a summary is shorter than what it sums up."""
    return max(1, min(max_length, 64, math.ceil(max_length / 2)))
