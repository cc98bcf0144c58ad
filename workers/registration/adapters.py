"""Checks an adapter of PEFT's against the base that it is put on, by names and shapes, before anything of it is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.base_models import loading
from workers.base_models.files import UnusableAdapter, UnusableBase, tensor_entries

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_LORA = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.(?:default\.)?weight")

Shape = tuple[int, ...]


def read_config(folder: Path) -> dict[str, Any]:
    """Return an adapter's configuration, once its files are known to be usable.

    Raises:
        UnusableAdapter: its weights are missing or a pickle, or it is of a kind that can't be put on a model here.
    """
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        raise UnusableAdapter(f"{folder / CONFIG} can't be read: give the folder that PEFT's save_pretrained wrote") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise UnusableAdapter(f"the adapter {folder.name} is of the type {kind!r}, and only LORA can be put on: merge it where it was made")
    if not (folder / WEIGHTS).is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        if pickles:
            raise UnusableAdapter(
                f"the adapter {folder.name} has its weights in {pickles[0]}, which is never loaded: a pickle can run code. Save it again"
                " where you trust it, with save_pretrained(..., safe_serialization=True)"
            )
        raise UnusableAdapter(f"the adapter {folder.name} has no {WEIGHTS}: give the folder that PEFT's save_pretrained wrote")
    return config


def check_fits(folder: Path, base: str, base_folder: Path) -> int:
    """Make sure that each part of an adapter has its place in the base; return how many linear layers it changes.

    Args:
        folder: of the adapter.
        base: as people call it.
        base_folder: of the base model, checked.

    Raises:
        UnusableAdapter: a layer is missing in the base, or of another size.
        UnusableBase: the base can't be read.
    """
    changed = _changed_modules(folder)
    if not changed:
        raise UnusableAdapter(f"the adapter {folder.name} changes no linear layer: its tensors have other names than PEFT's")
    there = loading.load_shapes(base_folder)
    for module, shape in sorted(changed.items()):
        found = there.get(f"{module}.weight")
        if found is None:
            raise UnusableAdapter(_wrong(folder, base, f"it changes {module}, which the base does not have"))
        if found not in (shape, shape[::-1]):
            sizes = f"{' x '.join(map(str, shape))}, and the base's has {' x '.join(map(str, found))}"
            raise UnusableAdapter(_wrong(folder, base, f"its {module} is for weights of {sizes}"))
    return len(changed)


def _changed_modules(folder: Path) -> dict[str, Shape]:
    """Return the shape of the weights that each part of the adapter is for, by module."""
    sides: dict[str, dict[str, Any]] = {}
    try:
        entries: Mapping[str, Any] = tensor_entries(folder / WEIGHTS)
    except UnusableBase as error:
        raise UnusableAdapter(str(error)) from None
    for name, entry in entries.items():
        if found := _LORA.fullmatch(name):
            sides.setdefault(found["module"], {})[found["side"]] = entry["shape"]
    halves = sorted(module for module, both in sides.items() if both.keys() != {"A", "B"})
    if halves:
        raise UnusableAdapter(f"the adapter {folder.name} has half of {halves[0]} alone: fetch it again")
    return {module: (int(both["B"][0]), int(both["A"][1])) for module, both in sides.items()}


def _wrong(folder: Path, base: str, why: str) -> str:
    return f"the adapter {folder.name} does not fit the base {base}: {why}. Name the base that it was tuned on with --base"
