"""What the loop asks of a method of fine-tuning, and the methods by the name that a recipe's `method` gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workers.training.rank.methods.expand import Expand
from workers.training.rank.methods.freeze import Freeze
from workers.training.rank.methods.full import Full
from workers.training.rank.methods.lora import Lora
from workers.training.rank.methods.parameters import Weights
from workers.training.rank.methods.qlora import QLora

if TYPE_CHECKING:
    import torch

    from schemas.training import TrainingSpec
    from workers.base_models.files import BaseRecord


class Method(Protocol):
    """What of a base model is trained, and what is left of it as files."""

    def load(self, spec: TrainingSpec, folder: Path, tokenizer: Any, **options: Any) -> torch.nn.Module:
        """Load a base model and make it ready for the optimizer. All ranks call this, after seeding torch with `spec.seed`.

        Args:
            spec: of the training.
            folder: of the base model, checked.
            tokenizer: of the base model.
            options: of `from_pretrained`, such as the dtype.

        Raises:
            UserError: the base can't be used, or has not what the recipe names.
        """
        ...

    def trainable(self, model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
        """Return the parameters that the optimizer updates, by name and in its order. A checkpoint keeps these and their moments."""
        ...

    def export(self, model: torch.nn.Module, folder: Path, base: BaseRecord, weights: Weights) -> str:
        """Write what was trained to `folder`, in safetensors and with `base` beside it; return the SHA-256 of the file of weights.

        Rank 0 alone calls this. The folder is complete or absent.

        Args:
            model: as `load` returned it; at ZeRO-3 its parameters are empty.
            folder: to be made.
            base: of the base model.
            weights: the parameters of `trainable`, whole, by name and in its order, a few at a time in memory. It is read to its end: the
                other ranks give their parts meanwhile.
        """
        ...


METHODS: Mapping[str, Method] = {"full": Full(), "freeze": Freeze(), "expand": Expand(), "lora": Lora(), "qlora": QLora()}
"""By the name in a recipe."""
