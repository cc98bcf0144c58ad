"""What the methods share: how a base is loaded for training, and which of its parameters are trained."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.base_models import loading

if TYPE_CHECKING:
    import torch

Weights = Iterable[tuple[str, "torch.Tensor"]]
"""Tensors by name, on the CPU: see `Method.export`."""


def load_for_training(folder: Path, tokenizer: Any, **options: Any) -> Any:
    """Load a base model without a cache of keys and values, which training has no use for."""
    model = loading.load_model(folder, tokenizer, **options)
    model.config.use_cache = False
    return model


def train_only(model: torch.nn.Module, parameters: Collection[torch.nn.Parameter]) -> None:
    """Let gradients reach these parameters and no others."""
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)


def with_gradients(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that are trained, by name; one that is tied to another is there once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
