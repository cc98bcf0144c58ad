"""Trains the last layers of the base, or the first, and leaves all others as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.base_models import changed_weights
from workers.base_models.decoder import decoder_layers, final_norm
from workers.errors import UserError
from workers.training.rank.methods.parameters import Weights, load_for_training, train_only, with_gradients

if TYPE_CHECKING:
    import torch

    from schemas.training import TrainingSpec
    from workers.base_models.files import BaseRecord


class Freeze:
    """The method `freeze`: `freeze_trainable_layers` layers, and with the last ones the final norm, are trained. See `Method`."""

    def load(self, spec: TrainingSpec, folder: Path, tokenizer: Any, **options: Any) -> torch.nn.Module:
        """Load the base model, and let gradients reach the layers that the recipe names."""
        model: torch.nn.Module = load_for_training(folder, tokenizer, **options)
        layers, count = decoder_layers(model), spec.freeze_trainable_layers
        if abs(count) > len(layers):
            raise UserError(
                f"freeze_trainable_layers is {count}, and the base {spec.base} has {len(layers)} layers:"
                " give at most that many, or method=full"
            )
        parts = [*layers[-count:], final_norm(model)] if count > 0 else list(layers[:-count])
        train_only(model, [parameter for part in parts for parameter in part.parameters()])
        return model

    def trainable(self, model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
        """Return the parameters of those layers."""
        return with_gradients(model)

    def export(self, model: torch.nn.Module, folder: Path, base: BaseRecord, weights: Weights) -> str:  # noqa: ARG002
        """Write the trained layers, under their names in the state dict."""
        return changed_weights.write(folder, weights, base, method="freeze")
