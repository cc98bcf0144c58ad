"""Writes configs as programs with an earlier transformers take them too: most hosts and runtimes have one.

transformers 5 renamed keys that others read by their old names, and a reader that misses one takes its default in silence: without
`rope_theta` a model of base 100,000 answers gibberish. Each is written under both names; transformers 5 takes either.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.files import write_text


def config_of(folder: Path) -> Any:
    """Return the config of a model's folder."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def write_generation_config(out: Path, base: Path, end_ids: Sequence[int], tokenizer: Any, end_text: str, max_new_tokens: int) -> None:
    """Write how to generate: greedily, to the tokens that close an answer, and those at which the base stops."""
    from transformers import GenerationConfig

    try:
        stops = GenerationConfig.from_pretrained(base).eos_token_id
    except OSError:  # the base has none
        stops = config_of(base).eos_token_id
    listed = [int(end) for end in (stops if isinstance(stops, list) else [stops]) if end is not None]
    ends = [*end_ids, *(end for end in listed if end not in end_ids)]
    config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(ends), None),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        **({"stop_strings": [end_text]} if end_text else {}),
    )
    config.save_pretrained(out)


def mend_config(out: Path) -> None:
    """Add to config.json what transformers 5 calls otherwise: `rope_theta`, `rope_scaling`, `torch_dtype`."""
    path = out / "config.json"
    config = json.loads(path.read_bytes())
    for part in (config, config.get("text_config") or {}):
        rope = part.get("rope_parameters")
        if isinstance(rope, dict) and "rope_theta" in rope:
            part.setdefault("rope_theta", rope["rope_theta"])
            scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
            part.setdefault("rope_scaling", None if scaling.get("rope_type") == "default" else scaling)
        if "dtype" in part:
            part.setdefault("torch_dtype", part["dtype"])
    config.pop("_name_or_path", None)
    write_text(path, json.dumps(config, indent=2) + "\n", mode=0o644)


def mend_tokenizer(out: Path, template: str) -> None:
    """Name the tokenizer's class as all versions know it, and put the chat template where earlier ones look for it."""
    path = out / "tokenizer_config.json"
    config = json.loads(path.read_bytes())
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    for name in ("is_local", "local_files_only", "backend"):  # of this machine, or of this version
        config.pop(name, None)
    config["chat_template"] = template
    write_text(path, json.dumps(config, indent=2, ensure_ascii=False) + "\n", mode=0o644)
