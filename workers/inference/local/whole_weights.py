"""Writes a base with a tuned model in it as a model of its own. Imports torch: only processes that merge import this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from workers.inference.local.swapping import SwappableModel


def merged(base: Path, tokenizer: Any, tuned: Path | None) -> Any:
    """Return the model whole, merged in float32, whatever type its files have: it is rounded once, by `save`.

    Raises:
        UserError: the models don't fit together.
    """
    weights = SwappableModel(base, tokenizer, torch.float32, "cpu")
    if tuned is not None:
        weights.put_on(tuned)
    return weights.model


def stored_dtype(base: Path) -> torch.dtype:
    """Return the type in which a base keeps its weights: float32 where its config does not say."""
    found = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype
    return found if isinstance(found, torch.dtype) else torch.float32


def save(model: Any, dtype: torch.dtype, out: Path) -> None:
    """Write config and weights in safetensors, in this type."""
    model = model.to(dtype)
    model.config.dtype = dtype
    model.config.use_cache = True
    model.config.name_or_path = ""
    model.save_pretrained(out, safe_serialization=True)
    for file in out.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes for the owner alone
