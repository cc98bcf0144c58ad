"""Trains new layers between those of the base: LLaMA Pro's block expansion (Wu et al., 2024, https://arxiv.org/abs/2401.02415).

Each new layer is a copy of the one below it that adds nothing at first, since what ends its two branches is zero. So training starts at the
base, and what the base knows stays in layers that do not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.base_models import changed_weights
from workers.base_models.decoder import decoder_layers, insert_layers
from workers.errors import UserError
from workers.training.rank.methods.parameters import Weights, load_for_training, train_only, with_gradients

if TYPE_CHECKING:
    import torch

    from schemas.training import TrainingSpec
    from workers.base_models.files import BaseRecord

# How families name the projections that end the branches of attention and of the feed-forward network.
_ENDS_OF_ATTENTION = frozenset({"o_proj", "out_proj", "c_proj", "dense", "wo"})
_ENDS_OF_FEED_FORWARD = frozenset({"down_proj", "c_proj", "fc2", "fc_out", "dense_4h_to_h", "w2", "wo"})
# Norms that end both branches, behind the projections, where a family has them: Gemma 2 and 3 and OLMo 2, GLM 4.
_ENDING_NORMS = (
    ("post_attention_layernorm", "post_feedforward_layernorm"),
    ("post_self_attn_layernorm", "post_mlp_layernorm"),
)


class Expand:
    """The method `expand`: `expand_layers` new layers, one above each of as many equal parts of the base. See `Method`."""

    def load(self, spec: TrainingSpec, folder: Path, tokenizer: Any, **options: Any) -> torch.nn.Module:
        """Load the base model, insert the new layers, and let gradients reach them alone."""
        model: torch.nn.Module = load_for_training(folder, tokenizer, **options)
        depth = len(decoder_layers(model))
        if spec.expand_layers > depth:
            raise UserError(f"expand_layers is {spec.expand_layers}, and the base {spec.base} has {depth} layers: give at most that many")
        places = spread(depth, spec.expand_layers)
        insert_layers(model, places)
        new = [decoder_layers(model)[place] for place in places]
        for layer in new:
            _silence(layer)
        train_only(model, [parameter for layer in new for parameter in layer.parameters()])
        return model

    def trainable(self, model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
        """Return the parameters of the new layers."""
        return with_gradients(model)

    def export(self, model: torch.nn.Module, folder: Path, base: BaseRecord, weights: Weights) -> str:
        """Write the new layers, under their names in the deeper model's state dict, and which they are."""
        new = [place for place, layer in enumerate(decoder_layers(model)) if any(each.requires_grad for each in layer.parameters())]
        return changed_weights.write(folder, weights, base, method="expand", new_layers=tuple(new))


def spread(depth: int, count: int) -> tuple[int, ...]:
    """Return the places of `count` new layers in the deeper model: one above each of `count` equal parts of `depth` layers."""
    return tuple((number + 1) * depth // count + number for number in range(count))


def _silence(layer: Any) -> None:
    """Make a layer add nothing to what passes through it, and still learn.

    Raises:
        UserError: the layer's output projections can't be found.
    """
    import torch

    with torch.no_grad():
        norms = next((pair for pair in _ENDING_NORMS if all(hasattr(layer, name) for name in pair)), None)
        if norms is not None:
            # Such a norm would blow up a small output to its full size at the first step; its own scale grows from nothing.
            for name in norms:
                _silence_norm(getattr(layer, name))
            return
        found = {kind for kind, parameter in _ends(layer) if not parameter.zero_().any()}
    if found != {"attention", "feed-forward"}:
        raise UserError(f"method expand does not know the output projections of {type(layer).__name__}: take method freeze or lora")


def _ends(layer: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yield the parameters of the output projections of a layer, biases included, each with its branch."""
    for name, parameter in layer.named_parameters():
        parts = name.split(".")
        in_attention = "attn" in name or "attention" in parts[0]
        if not (_ENDS_OF_ATTENTION if in_attention else _ENDS_OF_FEED_FORWARD).isdisjoint(parts):
            yield "attention" if in_attention else "feed-forward", parameter


def _silence_norm(norm: Any) -> None:
    """Set the scale of a norm so that it returns zeros: some families multiply by the weight, others by one more than it."""
    import torch

    norm.weight.zero_()
    if norm(torch.ones_like(norm.weight)).any():
        norm.weight.fill_(-1)
