"""Reads the shape of a base model: sizes from `config.json`, tensors from the headers of its weights or, without weights, by its family.

The names and shapes are those of transformers' modules. A tensor that is tied to another, such as the head of a small model to its
embedding, is there once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.base_models.files import CONFIG, INDEX, WEIGHTS, UnusableBase, tensor_entries, weight_files
from workers.errors import NotFound

Shape = tuple[int, ...]

FAMILIES = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Of which the tensors are known without the weights."""

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.(.+)")
_GEMMAS = ("gemma", "gemma2", "gemma3_text")
_FOUR_NORMS = ("gemma2", "gemma3_text")
_HEADS_HAVE_NORMS = ("qwen3", "gemma3_text")
_TIED_BY_DEFAULT = (*_GEMMAS, "smollm3")


@dataclass(frozen=True)
class Architecture:
    """The sizes of a decoder, and its tensors.

    Attributes:
        family: the config's `model_type`.
        hidden, intermediate, vocabulary: widths of the residual stream, of the feed-forward network, of the logits.
        heads, kv_heads, head_dim: of the attention.
        softcap: attention scores are capped by a tanh, which keeps one more copy of them.
        layers: the tensors of each decoder layer, by their names in it.
        others: the tensors outside the layers, by name.
    """

    family: str
    hidden: int
    intermediate: int
    vocabulary: int
    heads: int
    kv_heads: int
    head_dim: int
    softcap: bool
    layers: tuple[Mapping[str, Shape], ...]
    others: Mapping[str, Shape]

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return count(self.others) + sum(map(count, self.layers))

    @property
    def norms(self) -> int:
        """Normalisations of the residual stream's width in a layer."""
        return sum(1 for name, shape in self.layers[0].items() if name.endswith("weight") and shape == (self.hidden,))

    @property
    def head_norms(self) -> bool:
        """Whether queries and keys are normalised."""
        return any("q_norm" in name for name in self.layers[0])

    def linear_layers(self) -> Iterator[tuple[str, int, int]]:
        """Yield the name, inputs and outputs of each linear layer in the decoder layers; the head is none of them."""
        for place, layer in enumerate(self.layers):
            for name, shape in layer.items():
                if len(shape) == 2 and name.endswith(".weight"):
                    yield f"layers.{place}.{name.removesuffix('.weight')}", shape[1], shape[0]

    def final_norm(self) -> Mapping[str, Shape]:
        """The tensors of the normalisation behind the last layer."""
        return {name: shape for name, shape in self.others.items() if len(shape) == 1}


def count(tensors: Mapping[str, Shape]) -> int:
    """Return how many numbers tensors hold together."""
    return sum(math.prod(shape) for shape in tensors.values())


def read_architecture(folder: Path) -> Architecture:
    """Return the architecture of the base model in a folder with a `config.json`, and weights or none.

    Raises:
        NotFound: there is no such folder or config.
        UnusableBase: the config lacks a size, or the weights are absent and the family is not known.
    """
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except FileNotFoundError:
        raise NotFound(f"no {CONFIG} in {folder}: memory can't be estimated before the base is there") from None
    except (OSError, ValueError):
        raise UnusableBase(f"{folder / CONFIG} can't be read: fetch the model again") from None
    has_weights = any((folder / name).is_file() for name in (WEIGHTS, INDEX))
    return of_config(config, dict(_stored_tensors(folder)) if has_weights else None)


def _stored_tensors(folder: Path) -> Iterator[tuple[str, Shape]]:
    for file in weight_files(folder):
        for name, entry in tensor_entries(file).items():
            yield name, tuple(entry["shape"])


def of_config(config: Mapping[str, Any], tensors: Mapping[str, Shape] | None = None) -> Architecture:
    """Return the architecture that a config describes.

    Args:
        config: what `config.json` holds; of a model of several parts, the text's is taken.
        tensors: name and shape of each tensor of the weights; None where there are no weights.

    Raises:
        UnusableBase: as in `read_architecture`.
    """
    text = config.get("text_config") or config
    sizes = _sizes({**config, **text})
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings", sizes["family"] in _TIED_BY_DEFAULT))
    if tensors is None:
        if sizes["family"] not in FAMILIES:
            raise UnusableBase(
                f"model_type {sizes['family']}: its tensors are known only from its weights. There are {', '.join(FAMILIES)}"
            )
        tensors = _tensors(text, sizes, tied)
    layers: dict[int, dict[str, Shape]] = {}
    others: dict[str, Shape] = {}
    for name, shape in tensors.items():
        in_layer = _LAYER.search(name)
        if in_layer:
            layers.setdefault(int(in_layer[1]), {})[in_layer[2]] = shape
        elif not (tied and name.endswith("lm_head.weight")):
            others[name] = shape
    if not layers:
        raise UnusableBase(f"model_type {sizes['family']}: no decoder layers are found among its {len(tensors)} tensors")
    return Architecture(**sizes, layers=tuple(layers[place] for place in sorted(layers)), others=others)


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        family, hidden, heads = str(config["model_type"]), int(config["hidden_size"]), int(config["num_attention_heads"])
        return {
            "family": family,
            "hidden": hidden,
            "intermediate": int(config["intermediate_size"]),
            "vocabulary": int(config["vocab_size"]),
            "heads": heads,
            "kv_heads": int(config.get("num_key_value_heads") or heads),
            "head_dim": int(config.get("head_dim") or (256 if family in _GEMMAS else hidden // heads)),
            "softcap": config.get("attn_logit_softcapping") is not None,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableBase(f"{CONFIG}: {error} is missing or no number: memory can't be estimated") from None


def _tensors(config: Mapping[str, Any], sizes: Mapping[str, Any], tied: bool) -> dict[str, Shape]:
    """The tensors of a model of a known family."""
    layer = dict(_layer(config, sizes))
    found: dict[str, Shape] = {"model.embed_tokens.weight": (sizes["vocabulary"], sizes["hidden"]), "model.norm.weight": (sizes["hidden"],)}
    if not tied:
        found["lm_head.weight"] = (sizes["vocabulary"], sizes["hidden"])
    for place in range(int(config["num_hidden_layers"])):
        found |= {f"model.layers.{place}.{name}": shape for name, shape in layer.items()}
    return found


def _layer(config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    family, hidden, middle = sizes["family"], sizes["hidden"], sizes["intermediate"]
    query, key = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    all_biased = bool(config.get("attention_bias", False))
    for name, width, biased in (
        ("q_proj", query, all_biased or family == "qwen2"),
        ("k_proj", key, all_biased or family == "qwen2"),
        ("v_proj", key, all_biased or family == "qwen2"),
    ):
        yield f"self_attn.{name}.weight", (width, hidden)
        if biased:
            yield f"self_attn.{name}.bias", (width,)
    yield "self_attn.o_proj.weight", (hidden, query)
    if all_biased:
        yield "self_attn.o_proj.bias", (hidden,)
    if family in _HEADS_HAVE_NORMS:
        yield from ((f"self_attn.{name}.weight", (sizes["head_dim"],)) for name in ("q_norm", "k_norm"))
    for name, outputs, inputs in (("gate_proj", middle, hidden), ("up_proj", middle, hidden), ("down_proj", hidden, middle)):
        yield f"mlp.{name}.weight", (outputs, inputs)
        if config.get("mlp_bias", False):
            yield f"mlp.{name}.bias", (outputs,)
    norms = ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if family in _FOUR_NORMS else []
    yield from ((f"{name}.weight", (hidden,)) for name in norms)
