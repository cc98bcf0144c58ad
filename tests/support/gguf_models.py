"""Tiny random models of the families that are written as GGUF, as merged folders: wide enough for blocks, biases and norms not trivial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.model_families import FAMILIES
from tests.support.tiny_model import build_tokenizer, write_random_model

GGUF_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3")


def build_for_gguf(family: str, folder: Path, *, scale: float = 1.0, **changes: Any) -> Path:
    """Write a random model of a family to `folder` and return it.

    Args:
        family: see `GGUF_FAMILIES`.
        folder: to be made.
        scale: of the matrices. Wide models need less: their answers would hang on the last bit.
        changes: of the config. It has no sliding window but where they set one.
    """
    import torch
    from safetensors.torch import load_file, save_file

    fast = build_tokenizer()
    config = FAMILIES[family](fast)
    if family in ("mistral", "qwen2"):
        config.sliding_window = None
    if family == "qwen2":
        config.layer_types = None
    for name, value in changes.items():
        setattr(config, name, value)
    write_random_model(type(config).from_dict(config.to_dict()), folder)
    weights = load_file(folder / "model.safetensors")
    drawn = torch.Generator().manual_seed(1)
    for name, weight in weights.items():
        if weight.dim() == 1:
            weights[name] = weight + 0.2 * torch.randn(weight.shape, generator=drawn)
        else:
            weights[name] = (weight * scale).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    fast.save_pretrained(folder)
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    """Change keys of a model's config, as somebody's editor would."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensor(folder: Path, name: str, by: float, *, one: bool = False) -> None:
    """Add a number to each value of a tensor of a merged model, or to one of each row."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    if one:
        weights[name][:, 7] += by
    else:
        weights[name] += by
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
