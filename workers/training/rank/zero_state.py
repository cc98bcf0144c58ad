"""What a training has learnt so far, taken out of DeepSpeed and put back: whole tensors by name, whoever held which part of them.

ZeRO keeps a slice of the fp32 weights and of Adam's moments on each rank. Here they are put together, so that any number of ranks and
any ZeRO stage can go on from them. Imported by a rank alone: it loads torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

from workers.errors import UserError

MOMENTS = ("exp_avg", "exp_avg_sq")
WEIGHT = "weight"
Tensors = dict[str, torch.Tensor]


class Optimizer(Protocol):
    """Where the fp32 weights and the moments of a parameter are. Calls are made on all ranks, in the same order."""

    def read(self, parameters: Sequence[Any], what: str) -> list[torch.Tensor]:
        """`what` of all parameters, whole and in fp32."""

    def write(self, parameter: torch.Tensor, what: str, value: torch.Tensor) -> None:
        """Set `what` of a parameter."""

    def link(self) -> None:
        """Make moments that were just created reachable by their parameter."""

    def spread(self) -> None:
        """Let the weights of the model follow those that were written."""


class _Sharded:
    """ZeRO 1 and 2: each rank holds a slice."""

    def __init__(self, engine: Any) -> None:
        self._optimizer = engine.optimizer

    def read(self, parameters: Sequence[Any], what: str) -> list[torch.Tensor]:
        """What `deepspeed.utils.safe_get_full_…` does, in one message instead of one a parameter: there are hundreds."""
        sizes = [parameter.numel() for parameter in parameters]
        flat = torch.zeros(sum(sizes), dtype=torch.float32, device=parameters[0].device)
        for parameter, whole in zip(parameters, flat.split(sizes), strict=True):
            part = parameter._hp_mapping  # what this rank holds of it, if anything
            if part is not None:
                place = part.lp_fragment_address
                whole[place.start : place.start + place.numel] = part.get_hp_fragment(None if what == WEIGHT else what)
        torch.distributed.all_reduce(flat)
        return [whole.view(parameter.shape) for parameter, whole in zip(parameters, flat.split(sizes), strict=True)]

    def write(self, parameter: torch.Tensor, what: str, value: torch.Tensor) -> None:
        if what == WEIGHT:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, what)

    def link(self) -> None:
        # DeepSpeed does this after its first step; there is no public way to have it before one.
        self._optimizer._lazy_init_hp_params_optimizer_state()

    def spread(self) -> None:
        self._optimizer.update_lp_params()


class _Replicated:
    """ZeRO 0: each rank has all of it. In bf16 DeepSpeed gives the optimizer fp32 copies of the weights, in their order."""

    def __init__(self, engine: Any) -> None:
        self._state = engine.basic_optimizer.state
        masters = [master for group in engine.basic_optimizer.param_groups for master in group["params"]]
        self._master = dict(zip((parameter for _, parameter in trainable(engine)), masters, strict=True))

    def read(self, parameters: Sequence[Any], what: str) -> list[torch.Tensor]:
        masters = [self._master[parameter] for parameter in parameters]
        return [master.detach() if what == WEIGHT else self._state[master][what] for master in masters]

    def write(self, parameter: torch.Tensor, what: str, value: torch.Tensor) -> None:
        master = self._master[parameter]
        (master.data if what == WEIGHT else self._state[master][what]).copy_(value)

    def link(self) -> None:
        """Nothing to do: moments are found by their master."""

    def spread(self) -> None:
        for parameter, master in self._master.items():
            parameter.data.copy_(master.data)


def trainable(engine: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters that learn, by name, in the order in which the optimizer got them."""
    return ((name, parameter) for name, parameter in engine.module.named_parameters() if parameter.requires_grad)


def _optimizer(engine: Any) -> Optimizer:
    return _Sharded(engine) if engine.zero_optimization_stage() else _Replicated(engine)


@torch.no_grad()  # type: ignore[untyped-decorator]
def gather(engine: Any, *, keep: bool) -> dict[str, Tensors]:
    """The weights and moments of all ranks: `{"weight": {name: fp32 tensor on the CPU}, "exp_avg": …, "exp_avg_sq": …}`.

    Every rank must call this, after at least one step; those that don't `keep` it get empty dictionaries.
    """
    optimizer = _optimizer(engine)
    names, parameters = zip(*trainable(engine), strict=True)
    whole: dict[str, Tensors] = {}
    for what in (WEIGHT, *MOMENTS):
        tensors = optimizer.read(parameters, what)
        whole[what] = {name: tensor.to("cpu", torch.float32) for name, tensor in zip(names, tensors, strict=True)} if keep else {}
    return whole


def optimizer_step(engine: Any) -> float:
    """Adam's own count of steps."""
    states = engine.basic_optimizer.state.values()
    return float(next(iter(states))["step"])


@torch.no_grad()  # type: ignore[untyped-decorator]
def restore(engine: Any, whole: Mapping[str, Tensors], adam_step: float) -> None:
    """Put back what `gather` returned, on all ranks, before the first step.

    Raises:
        UserError: the tensors are not those of this model.
    """
    _check_shapes(engine, whole)
    base = engine.basic_optimizer
    for master in (master for group in base.param_groups for master in group["params"]):
        base.state[master] = {"step": torch.tensor(adam_step), **{moment: torch.zeros_like(master) for moment in MOMENTS}}
    optimizer = _optimizer(engine)
    optimizer.link()
    for name, parameter in trainable(engine):
        for what, tensors in whole.items():
            optimizer.write(parameter, what, tensors[name].to(parameter.device))
    optimizer.spread()


def _check_shapes(engine: Any, whole: Mapping[str, Tensors]) -> None:
    shapes = {name: parameter.shape for name, parameter in trainable(engine)}
    for what, tensors in whole.items():
        if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
            raise UserError(f"the checkpoint's {what} is not of this model: was the base model replaced? Train under another name")
