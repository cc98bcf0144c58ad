"""Keeps the matrices of a model's linear layers in the order in which oneDNN multiplies them on this CPU.

A matrix as safetensors holds it is put into that order anew at every product: with the few dozen rows of a decoding step that takes about
as long as the product. torch's own compiler packs weights by the same two operators when it freezes a model.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from workers.memory import host_memory

logger = logging.getLogger(__name__)

_SHARE = 0.25  # of the memory that is free: the weights stay beside their packed copies
_SMALLEST = 500_000  # numbers of a matrix: below it, oneDNN's call costs as much as its order saves
_ROWS = 64  # for which oneDNN chooses the order; it multiplies any number
_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")


class PackedLayers:
    """Linear layers of a model that compute with packed copies of their weights until `undo`; what changes the weights must undo it first.

    Small layers, other kinds, types of numbers and devices compute as before, and so does the whole model where its copies would
    take more than a quarter of the memory that is free, or torch was built without oneDNN.

    Args:
        model: its layers are taken as they are now.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._layers = [layer for layer in model.modules() if _can_be_packed(layer)]
        size = sum(layer.weight.nbytes for layer in self._layers)
        if not all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS) or size > _SHARE * host_memory():
            self._layers = []
        for layer in self._layers:
            layer.forward = _packed(layer)
        if self._layers:
            logger.info("engine: packed %d matrices, %.0f MB", len(self._layers), size / 1e6)

    def __len__(self) -> int:
        """How many layers compute with packed weights."""
        return len(self._layers)

    def undo(self) -> None:
        """Free the copies: the layers compute with their own weights again."""
        for layer in self._layers:
            del layer.forward
        self._layers = []


def _can_be_packed(layer: torch.nn.Module) -> bool:
    """Whether it is a large matrix on the CPU in float32. Subclasses are left out: their `forward` may do more."""
    if type(layer) is not torch.nn.Linear or layer.weight.numel() < _SMALLEST:
        return False
    weight: torch.Tensor = layer.weight
    return weight.is_cpu and weight.dtype is torch.float32


def _packed(layer: torch.nn.Linear) -> Any:
    weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")
        return product

    return forward
