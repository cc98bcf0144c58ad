"""Finds the nearest smaller setting of a recipe that fits into memory: what costs least is tried first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from schemas.training import TrainingSpec

Change = dict[str, Any]


def suggest(spec: TrainingSpec, fits: Callable[[TrainingSpec], bool]) -> str | None:
    """Return what to change of a recipe that does not fit, as `key=value` words for the command line; None where nothing is enough.

    Args:
        spec: the recipe.
        fits: whether a recipe fits into memory.
    """
    for change in _changes(spec):
        changed = _changed(spec, change)
        if changed is not None and fits(changed):
            return " ".join(f"{key}={_written(value)}" for key, value in change.items())
    return None


def smallest(spec: TrainingSpec) -> TrainingSpec:
    """Return the recipe with one example at a time: what a run comes down to by itself when memory runs out."""
    return _changed(spec, _micro_batch(spec, 1)) or spec


def _changes(spec: TrainingSpec) -> Iterator[Change]:
    """Yield changes from the cheapest to the dearest: time, then what is learnt, then the machine."""
    grounds: list[Change] = [{}]
    if not spec.gradient_checkpointing:
        grounds.append({"gradient_checkpointing": True})
    if spec.method == "lora":
        grounds.append({**grounds[-1], "method": "qlora", "zero_stage": min(spec.zero_stage, 2)})
    if spec.world_size > 1 and spec.zero_stage < 3 and spec.method != "qlora":
        grounds.append({**_lighter(spec), "zero_stage": 3})
    if spec.method not in ("lora", "qlora") and spec.offload_optimizer == "none":
        stage = max(spec.zero_stage, 2)
        grounds.append({**_lighter(spec), "zero_stage": stage, "offload_optimizer": "cpu"})
        grounds.append({**_lighter(spec), "zero_stage": 3, "offload_optimizer": "cpu", "offload_param": "cpu"})
        grounds += [{**_lighter(spec), "method": "lora"}, {**_lighter(spec), "method": "qlora", "zero_stage": min(spec.zero_stage, 2)}]
    for ground in grounds:
        yield from ({**ground, **smaller} for smaller in _micro_batches(spec) if ground or smaller)


def _lighter(spec: TrainingSpec) -> Change:
    return {} if spec.gradient_checkpointing else {"gradient_checkpointing": True}


def _micro_batches(spec: TrainingSpec) -> Iterator[Change]:
    """Yield the recipe's own micro-batch, then ever smaller ones with as many examples a step."""
    yield {}
    size = spec.per_device_train_batch_size
    while size > 1:
        size = max(part for part in range(1, size // 2 + 1) if size % part == 0)
        yield _micro_batch(spec, size)


def _micro_batch(spec: TrainingSpec, size: int) -> Change:
    accumulation = spec.gradient_accumulation_steps * spec.per_device_train_batch_size // size
    return {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}


def _changed(spec: TrainingSpec, change: Change) -> TrainingSpec | None:
    try:
        return TrainingSpec.model_validate({**spec.model_dump(), **change})
    except ValidationError:  # it would contradict another key
        return None


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
