"""A recipe gets the device that it asks for, or a refusal that says what to do; never the CPU while it holds a GPU."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support.ranks import Run, a_spec, write_train_file
from tests.support.tiny_model import build_tiny_model
from workers.errors import Unavailable
from workers.gpus import gpu_locks
from workers.settings import get_settings
from workers.training.protocol.outcome import TrainingResult

pytestmark = pytest.mark.spread

GPU = "GPU-aaaa0000-1111-2222-3333-444455556666"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `nvidia-smi` that lists one GPU, on which nobody computes; this machine's torch is a build for CPUs."""
    script = tmp_path / "driver" / "nvidia-smi"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nif [ \"$1\" = -L ]; then echo 'GPU 0: NVIDIA H200 (UUID: {GPU})'; fi\n")
    script.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("driver", "stack_home")
def test_a_gpu_that_the_driver_lists_and_torch_does_not_see_is_no_reason_to_train_on_the_cpu(tmp_path: Path) -> None:
    base, train_file = build_tiny_model(tmp_path / "tiny"), write_train_file(tmp_path / "train.jsonl")
    failure = Run(a_spec(base, world_size=1), train_file, tmp_path / "run").end_badly()

    assert failure.kind == "user"
    assert "PyTorch sees no GPU, and the driver lists 1: torch" in str(failure)
    assert "is a build for CPUs; install a CUDA build of it" in str(failure)
    assert not (tmp_path / "run" / "progress.jsonl").exists(), "no step was made"
    assert is_free(), "and the GPU is another's to take"


def is_free() -> bool:
    folder = gpu_locks.lock_folder(get_settings().locks_folder)
    try:
        with gpu_locks.held([GPU], folder, patience=0):
            return True
    except Unavailable:
        return False


@pytest.mark.usefixtures("driver", "stack_home")
def test_a_recipe_for_the_cpu_trains_over_gloo_and_holds_no_gpu(tmp_path: Path) -> None:
    base, train_file = build_tiny_model(tmp_path / "tiny"), write_train_file(tmp_path / "train.jsonl")
    run = Run(a_spec(base, world_size=1, device="cpu", max_steps=40), train_file, tmp_path / "run")
    run.until_it_steps()
    assert is_free(), "no GPU is held while it trains"
    result = run.end()

    assert isinstance(result, TrainingResult), result
    assert (result.device, result.backend, result.steps) == ("cpu", "gloo", 40)
