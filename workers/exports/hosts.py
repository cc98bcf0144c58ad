"""Says which hosts take an adapter, by the limits that they publish.

Read in November 2026:

- vLLM: `MaxLoRARanks` of vllm/config/lora.py, and what vllm/lora/peft_helper.py refuses
- Fireworks: https://fireworks.ai/docs/fine-tuning/fine-tuned-import
- Together: https://docs.together.ai/docs/dedicated-endpoints/adapter, which publishes no rank
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_FIREWORKS_RANKS = range(4, 65)
_FIREWORKS_TARGETS = {
    "q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj", "w1", "w2", "w3", "block_sparse_moe.gate",
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Whether a host takes an adapter by what it publishes, and what to know."""

    host: str
    takes: bool
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def vllm_rank(config: Mapping[str, Any]) -> int:
    """Return the `--max-lora-rank` that vLLM must be given for an adapter with this `adapter_config.json`; its largest for one beyond."""
    return next((each for each in _VLLM_RANKS if each >= _rank(config)), _VLLM_RANKS[-1])


def verdicts(config: Mapping[str, Any]) -> list[Verdict]:
    """Return what each host says to an adapter with this `adapter_config.json`."""
    rank = _rank(config)
    return [_vllm(config, rank), _fireworks(config, rank), _together(config)]


def _rank(config: Mapping[str, Any]) -> int:
    return max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])


def _vllm(config: Mapping[str, Any], rank: int) -> Verdict:
    if config.get("use_dora"):
        return Verdict("vLLM", False, "it does not load DoRA: export with --format merged")
    if config.get("modules_to_save"):
        return Verdict("vLLM", False, "it loads no modules_to_save: export with --format merged")
    if rank > _VLLM_RANKS[-1]:
        return Verdict("vLLM", False, f"its ranks end at {_VLLM_RANKS[-1]}, and this one is {rank}: export with --format merged")
    return Verdict("vLLM", True, f"rank {rank}: serve it with --enable-lora --max-lora-rank {vllm_rank(config)}")


def _fireworks(config: Mapping[str, Any], rank: int) -> Verdict:
    targets = config.get("target_modules") or []
    others = sorted({str(target).rpartition(".")[2] for target in targets} - _FIREWORKS_TARGETS) if isinstance(targets, list) else []
    ignored = [name for name in ("use_dora", "use_rslora") if config.get(name)]
    if ignored:
        return Verdict("Fireworks", False, f"it ignores {ignored[0]} and would answer by other weights: export with --format merged")
    if rank not in _FIREWORKS_RANKS:
        return Verdict("Fireworks", False, f"its ranks are 4 to 64, and this one is {rank}")
    if others:
        return Verdict("Fireworks", False, f"it has no adapters on {', '.join(others)}")
    return Verdict("Fireworks", True, f"rank {rank}; fireworks.json has the chat template; the base must be one that takes addons")


def _together(config: Mapping[str, Any]) -> Verdict:
    if config.get("use_dora"):
        return Verdict("Together", False, "it does not say that it applies DoRA: export with --format merged")
    return Verdict("Together", True, "it publishes no limit of ranks; the base must be one that it serves, named by its hub id")
