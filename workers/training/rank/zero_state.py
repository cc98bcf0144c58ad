"""Gathers the trained weights and Adam's moments out of DeepSpeed, and restores them: whole fp32 tensors by name.

ZeRO (Rajbhandari et al., 2020, https://arxiv.org/abs/1910.02054) keeps a slice of the fp32 weights and of Adam's moments on each rank.
Here they are put together, so that any number of ranks and any ZeRO stage can resume from them. Imported by a rank alone: it loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

from workers.errors import UserError

MOMENTS = ("exp_avg", "exp_avg_sq")
WEIGHT = "weight"
Tensors = dict[str, torch.Tensor]
Trainable = Mapping[str, torch.nn.Parameter]
"""The parameters that are trained, by name, in the order in which the optimizer got them: see `Method.trainable`."""


class OptimizerState(Protocol):
    """The fp32 weights and the moments of the parameters. All ranks make the same calls in the same order."""

    def read(self, parameters: Sequence[Any], what: str) -> list[torch.Tensor]:
        """Return `what` (the weight or a moment) of all parameters, whole and in fp32."""

    def write(self, parameter: torch.Tensor, what: str, value: torch.Tensor) -> None:
        """Set `what` of a parameter."""

    def link(self) -> None:
        """Make moments that were just created reachable by their parameters."""

    def update_model(self) -> None:
        """Copy the fp32 weights that were written to the weights of the model."""


class _Sharded:
    """The state under ZeRO 1 and 2: each rank holds a slice."""

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

    def update_model(self) -> None:
        self._optimizer.update_lp_params()


class _Replicated:
    """The state under ZeRO 0: each rank has all of it. In bf16 DeepSpeed gives the optimizer fp32 copies of the weights, in their order."""

    def __init__(self, engine: Any, trainable: Trainable) -> None:
        self._state = engine.basic_optimizer.state
        masters = [master for group in engine.basic_optimizer.param_groups for master in group["params"]]
        self._master = dict(zip(trainable.values(), masters, strict=True))

    def read(self, parameters: Sequence[Any], what: str) -> list[torch.Tensor]:
        masters = [self._master[parameter] for parameter in parameters]
        return [master.detach() if what == WEIGHT else self._state[master][what] for master in masters]

    def write(self, parameter: torch.Tensor, what: str, value: torch.Tensor) -> None:
        master = self._master[parameter]
        (master.data if what == WEIGHT else self._state[master][what]).copy_(value)

    def link(self) -> None:
        """Nothing to do: moments are found by their master."""

    def update_model(self) -> None:
        for parameter, master in self._master.items():
            parameter.data.copy_(master.data)


def _state_of(engine: Any, trainable: Trainable) -> OptimizerState:
    return _Sharded(engine) if engine.zero_optimization_stage() else _Replicated(engine, trainable)


@torch.no_grad()  # type: ignore[untyped-decorator]
def gather(engine: Any, trainable: Trainable, *, keep: bool) -> dict[str, Tensors]:
    """Return the weights and moments of all ranks: `{"weight": {name: fp32 tensor on the CPU}, "exp_avg": …, "exp_avg_sq": …}`.

    Every rank must call this, after at least one step; ranks that don't `keep` it get empty dictionaries.
    """
    optimizer = _state_of(engine, trainable)
    names, parameters = list(trainable), list(trainable.values())
    whole: dict[str, Tensors] = {}
    for what in (WEIGHT, *MOMENTS):
        tensors = optimizer.read(parameters, what)
        whole[what] = {name: tensor.to("cpu", torch.float32) for name, tensor in zip(names, tensors, strict=True)} if keep else {}
    return whole


def optimizer_step(engine: Any) -> float:
    """Return Adam's own count of steps, which corrects the bias of its moments."""
    states = engine.basic_optimizer.state.values()
    return float(next(iter(states))["step"])


@torch.no_grad()  # type: ignore[untyped-decorator]
def restore(engine: Any, trainable: Trainable, whole: Mapping[str, Tensors], adam_step: float) -> None:
    """Restore what `gather` returned, on all ranks, before the first step.

    Raises:
        UserError: the tensors are not those of this model.
    """
    _check_shapes(trainable, whole)
    base = engine.basic_optimizer
    for master in (master for group in base.param_groups for master in group["params"]):
        base.state[master] = {"step": torch.tensor(adam_step), **{moment: torch.zeros_like(master) for moment in MOMENTS}}
    optimizer = _state_of(engine, trainable)
    optimizer.link()
    for name, parameter in trainable.items():
        for what, tensors in whole.items():
            optimizer.write(parameter, what, tensors[name].to(parameter.device))
    optimizer.update_model()


def _check_shapes(trainable: Trainable, whole: Mapping[str, Tensors]) -> None:
    shapes = {name: parameter.shape for name, parameter in trainable.items()}
    for what, tensors in whole.items():
        if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
            raise UserError(f"the checkpoint's {what} is not of this model: was the base model replaced? Train under another name")
