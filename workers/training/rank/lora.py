"""Trains LoRA adapters (Hu et al., 2021, https://arxiv.org/abs/2106.09685) with PEFT: low-rank updates beside frozen weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers import files
from workers.base_models import loading

if TYPE_CHECKING:
    import torch

    from schemas.training import TrainingSpec
    from workers.base_models.files import BaseRecord

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


class Lora:
    """The method `lora`: an adapter on each linear layer but the language-model head. See `Method`."""

    def load(self, spec: TrainingSpec, folder: Path, tokenizer: Any, **options: Any) -> torch.nn.Module:
        """Load the base model, freeze it, and add an adapter with new weights, drawn from torch's generator."""
        import torch
        from peft import LoraConfig, get_peft_model

        base = loading.load_model(folder, tokenizer, **options)
        base.name_or_path = spec.base
        base.config.use_cache = False
        config = LoraConfig(
            r=spec.lora_r,
            lora_alpha=spec.lora_alpha,
            lora_dropout=spec.lora_dropout,
            target_modules=spec.lora_target_modules,
            bias="none",
            task_type="CAUSAL_LM",
        )
        # Loading a base may draw from the generator, at ZeRO-3 for one: an adapter follows from the seed alone.
        torch.manual_seed(spec.seed)
        adapted: torch.nn.Module = get_peft_model(base, config)
        return adapted

    def trainable(self, model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
        """Return the matrices of the adapter."""
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def export(self, model: torch.nn.Module, folder: Path, base: BaseRecord, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
        """Write the adapter as PEFT does, without its model card."""
        saved: Any = model
        with files.atomic_folder(folder, folder.with_name(f".{folder.name}.partial"), replace=True) as aside:
            saved.save_pretrained(aside, safe_serialization=True, state_dict=dict(weights))
            for file in aside.iterdir():
                if file.name not in {WEIGHTS_FILE, CONFIG_FILE}:
                    file.unlink()
            base.write(aside)
            return files.sha256_of_file(aside / WEIGHTS_FILE)
