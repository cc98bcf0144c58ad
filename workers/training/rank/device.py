"""Chooses where a rank computes. A GPU that the driver lists and torch does not see is an error, not a reason to take the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from schemas.training import Device
from workers.errors import UserError


def choose_device(asked: Device, listed: Sequence[str]) -> Literal["cuda", "cpu"]:
    """Return the device of a rank.

    Args:
        asked: what the recipe says.
        listed: the GPUs that the driver lists for this process.

    Raises:
        UserError: torch sees no GPU, and the recipe or the machine calls for one.
    """
    if asked == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda" or listed:
        why = f"the driver lists {len(listed)}" if listed else "the recipe says device: cuda"
        raise UserError(f"PyTorch sees no GPU, and {why}: {_reason()}. To train on the CPU all the same, set device: cpu")
    return "cpu"


def read_memory_through_torch() -> None:
    """Have DeepSpeed ask torch for the free memory of a GPU.

    Where NVML's Python package is installed it would ask that by a number, and take the names in `CUDA_VISIBLE_DEVICES` for such numbers:
    ours are UUIDs.
    """
    from deepspeed.accelerator import set_accelerator
    from deepspeed.accelerator.cuda_accelerator import CUDA_Accelerator

    class Accelerator(CUDA_Accelerator):  # type: ignore[misc]
        def available_memory(self, device_index: int | None = None) -> int:
            return int(torch.cuda.mem_get_info(device_index)[0])

    set_accelerator(Accelerator())


def _reason() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a build for CPUs; install a CUDA build of it, of the same version"
    return (
        f"torch {torch.__version__} was built for CUDA {torch.version.cuda}; update the NVIDIA driver, or install a build for an older CUDA"
        " (`nvidia-smi` names the newest one that the driver knows)"
    )
