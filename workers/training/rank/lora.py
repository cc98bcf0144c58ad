"""LoRA adapters (Hu et al., 2021, https://arxiv.org/abs/2106.09685): put on a base model, and kept as safetensors."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from schemas.payloads import TrainingSpec
    from workers.base_models.files import BaseRecord

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


def add_lora(base: PreTrainedModel, spec: TrainingSpec) -> Any:
    """Freeze `base` and put an adapter on each of its linear layers but the language-model head."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=spec.lora_target_modules,
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, config)


def save_adapter(model: Any, folder: Path, base: BaseRecord) -> str:
    """Write the adapter of `model` and what it was trained on into `folder`, aside first, so that the folder is whole or absent.

    Returns:
        The SHA-256 of the weights.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside, safe_serialization=True)
    for file in aside.iterdir():
        if file.name not in {WEIGHTS_FILE, CONFIG_FILE}:
            file.unlink()
    base.write(aside)
    digest = sha256_of(aside / WEIGHTS_FILE)
    shutil.rmtree(folder, ignore_errors=True)
    aside.replace(folder)
    return digest


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
