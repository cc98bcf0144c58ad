"""Gathers the trained weights and Adam's moments out of DeepSpeed, and restores them: whole tensors by name, a few at a time.

ZeRO (Rajbhandari et al., 2020, https://arxiv.org/abs/1910.02054) keeps a slice of the fp32 weights and of Adam's moments on each rank, and
at stage 3 of the weights themselves. Here they are put together, so that any number of ranks and any ZeRO stage can resume from them.
Imported by a rank alone: it loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from deepspeed.runtime.zero import GatheredParameters
from deepspeed.utils import (
    safe_get_local_fp32_param,
    safe_get_local_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)

MOMENTS = ("exp_avg", "exp_avg_sq")
WEIGHT = "weight"
STATES = (WEIGHT, *MOMENTS)
AT_ONCE = 16_000_000
"""Elements that are gathered by one message, 64 MB in fp32: adapters have hundreds of small tensors, full models a few of gigabytes."""

Trainable = Mapping[str, torch.nn.Parameter]
"""The parameters that are trained, by name, in the order in which the optimizer got them: see `Method.trainable`."""
Read = Callable[[str, str], torch.Tensor]
"""Returns what (the weight or a moment) of a parameter's name from a checkpoint: whole, on the CPU."""


class OptimizerState(Protocol):
    """The fp32 weights and the moments of the parameters. All ranks make the same calls in the same order."""

    def read(self, parameters: Sequence[Any], what: str) -> list[torch.Tensor]:
        """Return `what` (the weight or a moment) of the parameters, whole and in fp32."""

    def masters(self) -> list[torch.Tensor]:
        """Return this rank's fp32 weights as the optimizer has them."""

    def link(self) -> None:
        """Make moments that were just created reachable by their parameters."""

    def write(self, parameter: Any, what: str, value: torch.Tensor) -> None:
        """Set `what` of a parameter."""

    def update_model(self) -> None:
        """Copy the fp32 weights that were written to the weights of the model, where `write` did not."""


class _Sharded:
    """The state under ZeRO 1 and 2: each rank holds a slice."""

    def __init__(self, engine: Any) -> None:
        self._optimizer = engine.optimizer
        self._base = engine.basic_optimizer

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

    def masters(self) -> list[torch.Tensor]:
        return [master for group in self._base.param_groups for master in group["params"]]

    def link(self) -> None:
        # DeepSpeed does this after its first step; there is no public way to have it before one.
        self._optimizer._lazy_init_hp_params_optimizer_state()

    def write(self, parameter: Any, what: str, value: torch.Tensor) -> None:
        if what == WEIGHT:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, what)

    def update_model(self) -> None:
        self._optimizer.update_lp_params()


class _Partitioned:
    """The state under ZeRO 3: each rank holds an equal part of each parameter, the last one padded."""

    def __init__(self, engine: Any) -> None:
        self._optimizer = engine.optimizer

    def read(self, parameters: Sequence[Any], what: str) -> list[torch.Tensor]:
        """What `deepspeed.utils.safe_get_full_…` does, in one message instead of one a parameter."""
        parts = [_part(parameter, what) for parameter in parameters]
        mine, ranks = torch.cat(parts), torch.distributed.get_world_size()
        flat = torch.empty(ranks * mine.numel(), dtype=mine.dtype, device=mine.device)
        torch.distributed.all_gather_into_tensor(flat, mine)
        columns = flat.view(ranks, -1).split([part.numel() for part in parts], dim=1)
        return [
            column.reshape(-1)[: parameter.ds_numel].view(parameter.ds_shape) for parameter, column in zip(parameters, columns, strict=True)
        ]

    def masters(self) -> list[torch.Tensor]:
        return list(self._optimizer.fp32_partitioned_groups_flat)

    def link(self) -> None:
        """Nothing to do: moments are found by their master."""

    def write(self, parameter: Any, what: str, value: torch.Tensor) -> None:
        size, rank = parameter.ds_tensor.ds_numel, torch.distributed.get_rank()
        part = torch.zeros(size, dtype=torch.float32, device=value.device)
        mine = value.flatten()[size * rank : size * (rank + 1)]
        part[: mine.numel()] = mine
        if what != WEIGHT:
            safe_set_local_optimizer_state(parameter, part, what)
            return
        safe_set_local_fp32_param(parameter, part)
        with GatheredParameters([parameter], modifier_rank=0):
            parameter.data.copy_(value.view(parameter.shape))

    def update_model(self) -> None:
        """Nothing to do: `write` has set the weights of the model as well."""


def _part(parameter: Any, what: str) -> torch.Tensor:
    part = safe_get_local_fp32_param(parameter) if what == WEIGHT else safe_get_local_optimizer_state(parameter, what)
    return part.detach().float()


class _Replicated:
    """The state under ZeRO 0: each rank has all of it. In 16 bits the optimizer has fp32 copies of the weights, in their order."""

    def __init__(self, engine: Any, trainable: Trainable) -> None:
        self._state = engine.basic_optimizer.state
        masters = [master for group in engine.basic_optimizer.param_groups for master in group["params"]]
        self._master = dict(zip(trainable.values(), masters, strict=True))

    def read(self, parameters: Sequence[Any], what: str) -> list[torch.Tensor]:
        masters = [self._master[parameter] for parameter in parameters]
        return [master.detach() if what == WEIGHT else self._state[master][what] for master in masters]

    def masters(self) -> list[torch.Tensor]:
        return list(self._master.values())

    def link(self) -> None:
        """Nothing to do: moments are found by their master."""

    def write(self, parameter: Any, what: str, value: torch.Tensor) -> None:
        master = self._master[parameter]
        (master.data if what == WEIGHT else self._state[master][what]).copy_(value)

    def update_model(self) -> None:
        for parameter, master in self._master.items():
            parameter.data.copy_(master.data)


def _state_of(engine: Any, trainable: Trainable) -> OptimizerState:
    stage = engine.zero_optimization_stage()
    if stage == 3:
        return _Partitioned(engine)
    return _Sharded(engine) if stage else _Replicated(engine, trainable)


def shapes_of(trainable: Trainable) -> dict[str, tuple[int, ...]]:
    """Return the whole shapes of the parameters, also of those that ZeRO-3 has sharded."""
    return {name: tuple(getattr(parameter, "ds_shape", parameter.shape)) for name, parameter in trainable.items()}


def gather(engine: Any, trainable: Trainable, what: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield `what` (the weight or a moment) of each parameter, whole and in fp32, in their order.

    Every rank must read this to its end. A few tensors at a time are in memory.
    """
    if what in MOMENTS and not optimizer_step(engine):
        # In float16 the first steps are skipped, until the loss scale is small enough: Adam has no moments yet.
        yield from ((name, torch.zeros(shape)) for name, shape in shapes_of(trainable).items())
        return
    optimizer = _state_of(engine, trainable)
    for names in _batches(trainable):
        with torch.no_grad():
            whole = optimizer.read([trainable[name] for name in names], what)
        yield from zip(names, whole, strict=True)


def gather_weights(trainable: Trainable, *, keep: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the parameters whole, in their own type and on the CPU, in their order.

    Every rank must read this to its end, a few tensors at a time are in memory; ranks that don't `keep` them get none.
    """
    shapes = shapes_of(trainable)
    for names in _batches(trainable):
        with GatheredParameters([trainable[name] for name in names if hasattr(trainable[name], "ds_id")], modifier_rank=None):
            for name in names if keep else ():
                # A part of a tensor, or none of it, would be saved without a word.
                assert trainable[name].numel() > 0
                assert trainable[name].shape == shapes[name]
                yield name, trainable[name].detach().to("cpu", copy=True)


def _batches(trainable: Trainable) -> Iterator[list[str]]:
    """Yield the names in lists: each has at most `AT_ONCE` elements, or is of one tensor."""
    batch: list[str] = []
    elements = 0
    for name, parameter in trainable.items():
        size = getattr(parameter, "ds_numel", parameter.numel())
        if batch and elements + size > AT_ONCE:
            yield batch
            batch, elements = [], 0
        batch.append(name)
        elements += size
    if batch:
        yield batch


def optimizer_step(engine: Any) -> float:
    """Return Adam's own count of steps, which corrects the bias of its moments."""
    states = engine.basic_optimizer.state.values()
    return float(next((state["step"] for state in states if "step" in state), 0.0))


@torch.no_grad()  # type: ignore[untyped-decorator]
def restore(engine: Any, trainable: Trainable, read: Read, adam_step: float) -> None:
    """Restore on all ranks, before the first step, what `gather` yielded: `read` returns it by kind and by name."""
    optimizer = _state_of(engine, trainable)
    state = engine.basic_optimizer.state
    for master in optimizer.masters():
        state[master] = {"step": torch.tensor(adam_step), **{moment: torch.zeros_like(master) for moment in MOMENTS}}
    optimizer.link()
    for name, parameter in trainable.items():
        for what in STATES:
            optimizer.write(parameter, what, read(what, name).to(parameter.device))
    optimizer.update_model()
