"""Chooses the micro-batch of a training: halved when memory runs out, and remembered, so that the next attempt begins with what fitted.

The examples a step stay as many: what the micro-batch loses, the gradient accumulation gains.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.training import TrainingSpec
from workers import files
from workers.training.protocol.outcome import OutOfMemory

FILE = "micro_batch.json"
"""In the folder of a job's runs: what its attempts found out."""

T = TypeVar("T")


class FittedBatch(BaseModel):
    """The sizes that a job was brought down to, and those that its recipe asks for on each rank."""

    model_config = ConfigDict(frozen=True)

    asked: tuple[int, int]
    per_device_train_batch_size: int
    gradient_accumulation_steps: int


def train_within_memory(
    spec: TrainingSpec, folder: Path, launch: Callable[[TrainingSpec], T], log: Callable[[str], None], cure: str = ""
) -> T:
    """Call `launch` until it does not run out of memory, each time with smaller micro-batches; return what it returns.

    Args:
        spec: what the recipe asks for.
        folder: of the job's runs, where the size is kept.
        launch: trains, from the newest checkpoint on.
        log: says that it is tried again.
        cure: what would help when not even one example fits.

    Raises:
        OutOfMemory: not even one example a rank at a time fits.
    """
    current = remembered(spec, folder)
    if current != spec:
        log(f"{current.per_device_train_batch_size} examples a rank at a time, which is what fitted into memory before")
    while True:
        try:
            return launch(current)
        except OutOfMemory as error:
            smaller = halved(current)
            if smaller is None:
                raise OutOfMemory(f"out of memory with one example a rank at a time: {cure or CURE}", error.log_tail) from error
            size, next_size = current.per_device_train_batch_size, smaller.per_device_train_batch_size
            log(f"out of memory with {size} examples a rank at a time: once more with {next_size}, as many a step")
            _remember(spec, smaller, folder)
            current = smaller


CURE = "set gradient_checkpointing=true, lower max_length or lora_r, use more ranks or a higher zero_stage, or take a smaller base"


def halved(spec: TrainingSpec) -> TrainingSpec | None:
    """Return the same training with smaller micro-batches, half as large where that divides; None when they can't be smaller."""
    size = spec.per_device_train_batch_size
    smaller = max((part for part in range(1, size // 2 + 1) if size % part == 0), default=None)
    if smaller is None:
        return None
    accumulation = spec.gradient_accumulation_steps * size // smaller
    return spec.model_copy(update={"per_device_train_batch_size": smaller, "gradient_accumulation_steps": accumulation})


def remembered(spec: TrainingSpec, folder: Path) -> TrainingSpec:
    """Return the training with the micro-batch that an earlier attempt was brought down to, or as it is."""
    fitted = None
    with suppress(OSError, ValidationError):
        fitted = FittedBatch.model_validate_json((folder / FILE).read_bytes())
    if fitted is None or fitted.asked != _sizes(spec):
        return spec
    known = fitted.model_dump(exclude={"asked"})
    return spec.model_copy(update=known)


def _remember(spec: TrainingSpec, smaller: TrainingSpec, folder: Path) -> None:
    asked, (size, accumulation) = _sizes(spec), _sizes(smaller)
    fitted = FittedBatch(asked=asked, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)
    files.write_text(folder / FILE, fitted.model_dump_json())


def _sizes(spec: TrainingSpec) -> tuple[int, int]:
    return spec.per_device_train_batch_size, spec.gradient_accumulation_steps
