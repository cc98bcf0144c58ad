"""Finds the decoder layers of a causal language model of any family, and puts new layers between them or takes them out again.

A family's own names are not listed here: transformers tells where the decoder is, and its layers are the list that is as long as the config
says. Nothing here needs torch before a model is there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from workers.base_models.files import UnusableBase

if TYPE_CHECKING:
    import torch


def decoder_layers(model: Any) -> torch.nn.ModuleList:
    """Return the decoder layers of a Hugging Face model, the lowest first.

    Raises:
        UnusableBase: the model has none that can be found.
    """
    import torch

    decoder = model.get_decoder()
    depth = _depth(model)
    for child in decoder.children():
        if isinstance(child, torch.nn.ModuleList) and len(child) == depth:
            return child
    raise UnusableBase(
        f"the decoder layers of {type(model).__name__} can't be found: {type(decoder).__name__} holds no list of {depth} layers."
        " Take method full, lora or qlora"
    )


def final_norm(model: Any) -> torch.nn.Module:
    """Return the normalisation that follows the last decoder layer.

    Raises:
        UnusableBase: the model has none that can be found.
    """
    layers = decoder_layers(model)
    children = list(model.get_decoder().named_children())
    place = next(number for number, (_, child) in enumerate(children) if child is layers)
    # `norm`, `final_layernorm`, `ln_f`: a normalisation before the layers is that of the embeddings.
    norms = [child for name, child in children[place + 1 :] if "norm" in name or name.startswith("ln")]
    if not norms:
        raise UnusableBase(f"the final norm of {type(model).__name__} can't be found. Take method full, lora or qlora")
    found: torch.nn.Module = norms[-1]
    return found


def insert_layers(model: Any, places: Sequence[int]) -> None:
    """Insert decoder layers, each a copy of the one below it, and adjust the config so that caches have room for them.

    Args:
        model: a Hugging Face model.
        places: of the new layers in the deeper model, ascending, counted from 0. None is 0: nothing would lie below.

    Raises:
        ValueError: the model has no such place.
    """
    layers = decoder_layers(model)
    for place in places:
        if not 0 < place <= len(layers):
            raise ValueError(f"no layer can be inserted at place {place} of {len(layers)} layers")
        with _whole(layers[place - 1]):
            layers.insert(place, copy.deepcopy(layers[place - 1]))
    for config in _configs(model):
        depth = config.num_hidden_layers
        for name, kinds in _kinds_of_layers(config):
            deeper = list(kinds)
            for place in places:
                deeper.insert(place, deeper[place - 1])
            setattr(config, name, deeper)
        config.num_hidden_layers = depth + len(places)
    _renumber(layers)


def remove_layers(model: Any, places: Sequence[int]) -> None:
    """Take out what `insert_layers` inserted with the same places."""
    layers = decoder_layers(model)
    for place in reversed(places):
        del layers[place]
    for config in _configs(model):
        depth = config.num_hidden_layers
        for name, kinds in _kinds_of_layers(config):
            setattr(config, name, [kind for place, kind in enumerate(kinds) if place not in places])
        config.num_hidden_layers = depth - len(places)
    _renumber(layers)


def _whole(layer: torch.nn.Module) -> AbstractContextManager[Any]:
    """Put together the parameters of a layer that ZeRO-3 has sharded while it was loaded; a copy of it is an ordinary layer."""
    sharded = [parameter for parameter in layer.parameters() if hasattr(parameter, "ds_id")]
    if not sharded:
        return nullcontext()
    from deepspeed.runtime.zero import GatheredParameters

    gathered: AbstractContextManager[Any] = GatheredParameters(sharded)
    return gathered


def _depth(model: Any) -> int:
    return int(model.config.get_text_config(decoder=True).num_hidden_layers)


def _configs(model: Any) -> list[Any]:
    """The configs that say how deep the decoder is: that of the whole model's text, and the decoder's own where it has another."""
    found = [model.config.get_text_config(decoder=True), model.get_decoder().config]
    return list({id(config): config for config in found}.values())


def _kinds_of_layers(config: Any) -> Iterator[tuple[str, list[Any]]]:
    """What a config says of each layer, such as `layer_types`: sliding or full attention."""
    for name, value in list(vars(config).items()):
        if "layer" in name and isinstance(value, list) and len(value) == config.num_hidden_layers:
            yield name, value


def _renumber(layers: torch.nn.ModuleList) -> None:
    """Tell each layer its place, by which its attention finds its part of the cache."""
    for place, layer in enumerate(layers):
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = place
