"""Trains LoRA adapters (Hu et al., 2021, https://arxiv.org/abs/2106.09685) with PEFT: low-rank updates beside frozen weights.

With `use_dora` the updates are those of DoRA (Liu et al., 2024, https://arxiv.org/abs/2402.09353), which learns the length of each weight's
columns apart from their direction; with `use_rslora` they are scaled by the root of the rank (Kalajdzievski, 2023,
https://arxiv.org/abs/2312.03732).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers import files
from workers.errors import UserError
from workers.training.rank.methods.parameters import Weights, load_for_training, with_gradients

if TYPE_CHECKING:
    import torch

    from schemas.training import TrainingSpec
    from workers.base_models.files import BaseRecord

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


class Lora:
    """The method `lora`: an adapter on linear layers, on all but the language-model head by default. See `Method`."""

    def load(self, spec: TrainingSpec, folder: Path, tokenizer: Any, **options: Any) -> torch.nn.Module:
        """Load the base model, freeze it, and add an adapter with new weights, drawn from torch's generator."""
        return add_adapter(load_for_training(folder, tokenizer, **options), spec)

    def trainable(self, model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
        """Return the matrices of the adapter."""
        return with_gradients(model)

    def export(self, model: torch.nn.Module, folder: Path, base: BaseRecord, weights: Weights) -> str:
        """Write the adapter as PEFT does, without its model card."""
        saved: Any = model
        with files.atomic_folder(folder, folder.with_name(f".{folder.name}.partial"), replace=True) as aside:
            saved.save_pretrained(aside, safe_serialization=True, state_dict=dict(weights))
            for file in aside.iterdir():
                if file.name not in {WEIGHTS_FILE, CONFIG_FILE}:
                    file.unlink()
            base.write(aside)
            return files.sha256_of_file(aside / WEIGHTS_FILE)


def add_adapter(base: Any, spec: TrainingSpec) -> torch.nn.Module:
    """Freeze a base model and add an adapter to it.

    Raises:
        UserError: the recipe names linear layers that the base does not have.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    targets = spec.lora_target_modules
    if targets != "all-linear":
        _check_targets(base, spec, targets)
    base.name_or_path = spec.base
    config = LoraConfig(
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=targets if targets == "all-linear" else list(targets),
        use_dora=spec.use_dora,
        use_rslora=spec.use_rslora,
        bias="none",
        task_type="CAUSAL_LM",
    )
    # Loading a base may draw from the generator, at ZeRO-3 for one: an adapter follows from the seed alone.
    torch.manual_seed(spec.seed)
    adapted: torch.nn.Module = get_peft_model(base, config)
    return adapted


def _check_targets(base: Any, spec: TrainingSpec, targets: tuple[str, ...]) -> None:
    """Refuse names that PEFT would pass over in silence as long as another one is there."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = base.get_output_embeddings()
    linear = [name for name, each in base.named_modules() if isinstance(each, torch.nn.Linear | Conv1D) and each is not head]
    unknown = [target for target in targets if not any(name == target or name.endswith(f".{target}") for name in linear)]
    if unknown:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise UserError(
            f"lora_target_modules: no linear layer of the base {spec.base} is called {', '.join(unknown)}. They are called {known}:"
            " give some of these, or all-linear"
        )
