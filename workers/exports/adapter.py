"""Writes an adapter as vLLM, Together and Fireworks take it: PEFT's two files, the base named by its hub id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from workers import files
from workers.errors import UserError
from workers.exports.layout import ADAPTER, ADAPTER_CONFIG, json_of

METHODS = ("lora", "qlora")
"""Methods that leave an adapter."""


def check(model: str, method: str, base_id: str | None) -> str:
    """Return the base's hub id, for a model that can be an adapter elsewhere.

    Raises:
        UserError: it has no adapter, or nobody knows what its base is called on the hub.
    """
    if method not in METHODS:
        raise UserError(
            f"model {model} is of the method {method}, which changes the base's own weights: there is no adapter to export."
            " Take --format merged, gguf, ollama or mlx-ready"
        )
    if base_id is None:
        raise UserError(
            f"model {model}: an adapter names its base by the id on the Hugging Face hub, and that of this base is not known."
            " Give it with --base-id OWNER/NAME"
        )
    return base_id


def write(tuned: Path, out: Path, base_id: str, template: str) -> dict[str, Any]:
    """Copy the adapter's files to `out`, and write what hosts need beside them; return its config."""
    shutil.copyfile(tuned / ADAPTER, out / ADAPTER)
    config = json_of(tuned / ADAPTER_CONFIG) | {"base_model_name_or_path": base_id, "inference_mode": True}
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    files.write_text(out / ADAPTER_CONFIG, json.dumps(config, indent=2) + "\n")
    fireworks = {"conversation_config": {"style": "jinja", "args": {"template": template}}}
    files.write_text(out / "fireworks.json", json.dumps(fireworks, indent=2) + "\n")
    return config
