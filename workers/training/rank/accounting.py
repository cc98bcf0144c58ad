"""Counts what a rank trains and uses: parameters, memory, the devices, and the versions of the libraries. It loads torch."""

from __future__ import annotations

import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("tweetmill", "torch", "transformers", "peft", "accelerate", "deepspeed", "bitsandbytes")


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Return how many parameters are trained, and how many there are: whole ones, however ZeRO-3 shards or 4 bits pack them."""
    sizes = [(_size(parameter), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, is_trained in sizes if is_trained), sum(size for size, _ in sizes)


def _size(parameter: Any) -> int:
    size = int(getattr(parameter, "ds_numel", parameter.numel()))
    packed = getattr(parameter, "quant_state", None)
    return int(packed.shape.numel()) if packed is not None else size


def peak_memory(device: torch.device) -> int:
    """Return how many bytes this rank has used at most: allocated on its GPU, or resident on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    # What getrusage says includes what the process had before it became a rank: the kernel's own line does not.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def accelerators(accelerator: Any) -> tuple[str, ...]:
    """Return the name of each kind of GPU in the run, as the driver gives it; on CPUs nothing."""
    if accelerator.device.type != "cuda":
        return ()
    from accelerate.utils import gather_object

    properties = torch.cuda.get_device_properties(accelerator.device)
    return tuple(sorted(gather_object([f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"])))


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide what a training makes, of those that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
