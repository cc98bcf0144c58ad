"""Trains every parameter of the base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.base_models import changed_weights
from workers.training.rank.methods.parameters import Weights, load_for_training, with_gradients

if TYPE_CHECKING:
    import torch

    from schemas.training import TrainingSpec
    from workers.base_models.files import BaseRecord


class Full:
    """The method `full`. See `Method`."""

    def load(self, spec: TrainingSpec, folder: Path, tokenizer: Any, **options: Any) -> torch.nn.Module:  # noqa: ARG002
        """Load the base model; all of it is trained."""
        model: torch.nn.Module = load_for_training(folder, tokenizer, **options)
        return model.requires_grad_(True)

    def trainable(self, model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
        """Return all parameters; an embedding that is tied to the language-model head is there once."""
        return with_gradients(model)

    def export(self, model: torch.nn.Module, folder: Path, base: BaseRecord, weights: Weights) -> str:  # noqa: ARG002
        """Write all parameters, under their names in the state dict."""
        return changed_weights.write(folder, weights, base, method="full")
