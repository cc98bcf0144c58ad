"""Which device a recipe gets, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from deepspeed.accelerator import cuda_accelerator, real_accelerator
from pydantic import ValidationError

from schemas.training import TrainingSpec
from workers.errors import UserError
from workers.training.devices import missing_devices
from workers.training.rank.device import choose_device, read_memory_through_torch


def a_spec(**changes: Any) -> TrainingSpec:
    return TrainingSpec(**{"name": "m", "base": "b", "dataset": "d"} | changes)


@pytest.mark.parametrize(
    ("recipe", "gpus", "lack"),
    [
        ({}, 0, None),
        ({}, 1, None),
        ({"device": "cpu", "world_size": 2}, 1, None),
        ({"device": "cuda"}, 1, None),
        ({"device": "cuda"}, 0, "the recipe says device: cuda, and this worker sees no GPU"),
        ({"world_size": 2}, 0, None),
        ({"world_size": 2}, 1, "the training starts 2 ranks on a node, one a GPU, and this worker sees 1"),
        ({"world_size": 16, "nodes": 2}, 8, None),
    ],
)
def test_a_worker_knows_which_devices_it_lacks(recipe: dict[str, Any], gpus: int, lack: str | None) -> None:
    assert missing_devices(a_spec(**recipe), gpus) == lack


def test_a_rank_takes_the_device_that_the_recipe_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("auto", ()) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto", ("GPU-1",)) == choose_device("cuda", ("GPU-1",)) == "cuda"
    assert choose_device("cpu", ("GPU-1",)) == "cpu"


@pytest.mark.parametrize(("asked", "listed", "why"), [("cuda", (), "the recipe says device: cuda"), ("auto", ("GPU-1",), "lists 1")])
def test_a_rank_without_the_gpu_that_it_should_have_stops(asked: Any, listed: tuple[str, ...], why: str) -> None:
    with pytest.raises(UserError, match=f"PyTorch sees no GPU, and .*{why}: torch .* is a build for CPUs"):
        choose_device(asked, listed)


def test_an_old_driver_is_told_from_a_build_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UserError, match=r"was built for CUDA 13.0; update the NVIDIA driver"):
        choose_device("auto", ("GPU-1",))


def test_float16_on_cpus_is_refused_before_anything_is_queued() -> None:
    with pytest.raises(ValidationError, match="float16 trains on GPUs alone"):
        a_spec(device="cpu", dtype="float16")
    assert a_spec(dtype="float16").asked_dtype == "float16", "a worker may have a GPU"


def test_deepspeed_learns_of_free_memory_though_a_gpu_goes_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given what a rank sees, and NVML's Python package
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7fbb5c6b-5000-1564-ecb5-3c1b2da34bf7")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7, 9))
    monkeypatch.setattr(cuda_accelerator, "pynvml", SimpleNamespace())
    monkeypatch.setattr(real_accelerator, "ds_accelerator", None)

    read_memory_through_torch()

    assert real_accelerator.get_accelerator().available_memory(0) == 7
