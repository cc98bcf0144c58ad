"""Says which architectures can be written as GGUF, by which names and keys llama.cpp knows their parts, and which it would run otherwise.

llama.cpp computes each architecture by code of its own. What a config asks for and that code does not do is refused here by name, since
the file would load and answer wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.errors import UserError

if TYPE_CHECKING:
    from gguf import GGUFWriter


class NotExportable(UserError):
    """This model can't be written as GGUF."""


@dataclass(frozen=True)
class Architecture:
    """How llama.cpp knows a family of models.

    Attributes:
        name: of its code in llama.cpp.
        activation: of the feed-forward layers that this code has.
        interleaves: it turns neighbouring rows of queries and keys together, where transformers turns the halves of a head.
        norm_offset: what it expects to be added to each norm's weights: Gemma stores them less one.
        windows: its code has sliding windows.
    """

    name: str
    activation: str = "silu"
    interleaves: bool = False
    norm_offset: float = 0.0
    windows: bool = False


_GELU = "gelu_pytorch_tanh"
ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", interleaves=True),
    "mistral": Architecture("llama", interleaves=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "gemma": Architecture("gemma", _GELU, norm_offset=1.0),
    "gemma2": Architecture("gemma2", _GELU, norm_offset=1.0, windows=True),
    "gemma3_text": Architecture("gemma3", _GELU, norm_offset=1.0, windows=True),
}
"""By the config's model_type."""

# Every so many layers one looks at the whole text; fixed in llama.cpp.
_WINDOW_PATTERN = {"gemma2": 2, "gemma3": 6}
_YARN = frozenset({"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings"})


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Return how llama.cpp knows the model of this config.

    Raises:
        NotExportable: it does not, or would compute something else than transformers.
    """
    kind = str(config.get("model_type") or "without a name")
    found = ARCHITECTURES.get(kind)
    if found is None:
        raise NotExportable(
            f"a model of the architecture {kind} can't be written as GGUF: {', '.join(ARCHITECTURES)}"
            " can. Export it merged, and convert it by llama.cpp's own script"
        )
    activation = config.get("hidden_activation") or config.get("hidden_act") or found.activation
    if activation != found.activation:
        raise NotExportable(
            f"this {kind} has the activation {activation}, and llama.cpp's code for it {found.activation}: export it merged"
        )
    scalar = config.get("query_pre_attn_scalar")
    if scalar is not None and scalar != head_width(config):
        raise NotExportable(
            f"this {kind} scales its queries by {scalar}, and llama.cpp by the head's width {head_width(config)}: export it merged"
        )
    for section in _ropes(config).values():
        if section.get("partial_rotary_factor", 1.0) != 1.0:
            raise NotExportable(f"this {kind} turns a part of each head alone, which llama.cpp's code for it does not: export it merged")
    _check_windows(config, found)
    return found


def head_width(config: Mapping[str, Any]) -> int:
    """Return how wide an attention head is."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def context_length(config: Mapping[str, Any], found: Architecture) -> int:
    """Return for how many tokens llama.cpp computes what transformers does: not beyond a sliding window that its code does not have."""
    longest = int(config["max_position_embeddings"])
    window = config.get("sliding_window")
    if not window or found.windows or not config.get("use_sliding_window", True):
        return longest
    return min(longest, int(window))


def add_hyperparameters(writer: GGUFWriter, config: Mapping[str, Any], found: Architecture) -> None:
    """Write what llama.cpp must know of the model's shape.

    Raises:
        NotExportable: positions are scaled in a way that it does not know.
    """
    width = head_width(config)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(context_length(config, found))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_rope_dimension_count(width)
    if found.windows:
        writer.add_sliding_window(config["sliding_window"])
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    _add_rope(writer, config)


def rope_factors(config: Mapping[str, Any]) -> list[float] | None:
    """Return by how much each frequency is divided, as Llama 3.1 does it; None for others. llama.cpp has them as a tensor."""
    rope = main_rope(config)
    if rope.get("rope_type") != "llama3":
        return None
    factor, original = float(rope["factor"]), float(rope["original_max_position_embeddings"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    width = head_width(config)
    factors = []
    for pair in range(0, width, 2):
        turns = original / (2 * math.pi * float(rope["rope_theta"]) ** (pair / width))  # in the context that it was trained on
        if turns > high:
            factors.append(1.0)
        elif turns < low:
            factors.append(factor)
        else:
            smooth = (turns - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def main_rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how positions are turned where the whole text is looked at."""
    ropes = _ropes(config)
    return ropes.get("full_attention") or next(iter(ropes.values()))


def _ropes(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of positions by kind of layer; configs of before transformers 5 have them under two other names."""
    found = config.get("rope_parameters")
    if not isinstance(found, dict):
        found = {**(config.get("rope_scaling") or {}), "rope_theta": config.get("rope_theta", 10000.0)}
        if "rope_local_base_freq" in config:
            found = {"full_attention": found, "sliding_attention": {"rope_theta": config["rope_local_base_freq"]}}
    sections = {kind: dict(section) for kind, section in found.items() if isinstance(section, dict)} or {"": dict(found)}
    for section in sections.values():
        section["rope_type"] = section.get("rope_type") or section.get("type") or "default"
    return sections


def _add_rope(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    from gguf import RopeScalingType

    rope = main_rope(config)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    local = _ropes(config).get("sliding_attention")
    if local is not None:
        if local["rope_type"] != "default":
            raise NotExportable(
                f"the positions of sliding windows are scaled as {local['rope_type']}: llama.cpp does not. Export it merged"
            )
        writer.add_rope_freq_base_swa(float(local["rope_theta"]))
    kind = rope["rope_type"]
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif kind == "yarn" and not rope.keys() - _YARN and "original_max_position_embeddings" in rope:
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(rope["factor"]))
        writer.add_rope_scaling_orig_ctx_len(int(rope["original_max_position_embeddings"]))
    elif kind not in ("default", "llama3"):
        raise NotExportable(
            f"positions are scaled as {kind} with {', '.join(sorted(rope.keys() - {'rope_type'}))}: not known here. Export it merged"
        )


def _check_windows(config: Mapping[str, Any], found: Architecture) -> None:
    """Refuse windows in other layers than llama.cpp has them in."""
    kinds = config.get("layer_types")
    if not found.windows or not kinds:
        return
    every = _WINDOW_PATTERN[found.name]
    expected = ["full_attention" if (layer + 1) % every == 0 else "sliding_attention" for layer in range(len(kinds))]
    if list(kinds) != expected:
        raise NotExportable(
            f"this {config['model_type']} has sliding windows in other layers than all but each {every}th, where llama.cpp has them:"
            " export it merged"
        )
