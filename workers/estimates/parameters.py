"""Says which parameters a method trains and adds, by number. The numbers are exact: a test compares them with the models themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from schemas.training import MethodName, TrainingSpec
from workers.errors import UserError
from workers.estimates.architecture import Architecture, count


@dataclass(frozen=True)
class LayerUse:
    """What a decoder layer does in training: whether gradients pass through it, and whether its own weights get any."""

    in_graph: bool
    trained: bool


@dataclass(frozen=True)
class Parameters:
    """What of a model is trained.

    Attributes:
        total: parameters, with what the method added.
        trainable: of them.
        quantized: of them stored in four bits.
        layers: the use of each decoder layer, the lowest first, with those that the method added.
        adapters: whether linear layers carry adapters, beside which their own weights are frozen.
        embeddings_trained: whether the embedding and the head are trained.
    """

    total: int
    trainable: int
    layers: tuple[LayerUse, ...]
    quantized: int = 0
    adapters: int = 0
    embeddings_trained: bool = False


def count_parameters(architecture: Architecture, spec: TrainingSpec) -> Parameters:
    """Return what the recipe's method trains of a base.

    Raises:
        UserError: the recipe asks for more layers than there are, or for linear layers that are not there.
    """
    return _METHODS[spec.method](architecture, spec)


def _full(base: Architecture, _: TrainingSpec) -> Parameters:
    uses = (LayerUse(in_graph=True, trained=True),) * len(base.layers)
    return Parameters(base.parameters, base.parameters, uses, embeddings_trained=True)


def _freeze(base: Architecture, spec: TrainingSpec) -> Parameters:
    layers, depth = spec.freeze_trainable_layers, len(base.layers)
    if abs(layers) > depth:
        raise UserError(f"freeze_trainable_layers is {layers}, and the base has {depth} layers")
    if layers > 0:
        uses = [LayerUse(place >= depth - layers, place >= depth - layers) for place in range(depth)]
        trained = sum(map(count, base.layers[depth - layers :])) + count(base.final_norm())
    else:
        uses = [LayerUse(True, place < -layers) for place in range(depth)]
        trained = sum(map(count, base.layers[:-layers]))
    return Parameters(base.parameters, trained, tuple(uses))


def _expand(base: Architecture, spec: TrainingSpec) -> Parameters:
    layers, depth = spec.expand_layers, len(base.layers)
    if layers > depth:
        raise UserError(f"expand_layers is {layers}, and the base has {depth} layers")
    below = [(number + 1) * depth // layers - 1 for number in range(layers)]  # the layers of which the new ones are copies
    added = sum(count(base.layers[place]) for place in below)
    uses: list[LayerUse] = []
    for place in range(depth):
        uses.append(LayerUse(in_graph=bool(uses) and any(use.trained for use in uses), trained=False))
        if place in below:
            uses.append(LayerUse(in_graph=True, trained=True))
    return Parameters(base.parameters + added, added, tuple(uses))


def _lora(base: Architecture, spec: TrainingSpec) -> Parameters:
    adapted = [
        (inputs, outputs)
        for name, inputs, outputs in base.linear_layers()
        if spec.lora_target_modules == "all-linear" or name.endswith(tuple(f".{target}" for target in spec.lora_target_modules))
    ]
    if not adapted:
        raise UserError(f"lora_target_modules: the base has no linear layer called {', '.join(spec.lora_target_modules)}")
    added = sum(spec.lora_r * (inputs + outputs) + outputs * spec.use_dora for inputs, outputs in adapted)
    uses = (LayerUse(in_graph=True, trained=False),) * len(base.layers)
    return Parameters(base.parameters + added, added, uses, adapters=len(adapted))


def _qlora(base: Architecture, spec: TrainingSpec) -> Parameters:
    return replace(_lora(base, spec), quantized=sum(inputs * outputs for _, inputs, outputs in base.linear_layers()))


_METHODS: Mapping[MethodName, Callable[[Architecture, TrainingSpec], Parameters]] = {
    "full": _full,
    "freeze": _freeze,
    "expand": _expand,
    "lora": _lora,
    "qlora": _qlora,
}
