"""In which type weights are loaded: what was asked for, else what the machine computes fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from schemas.training import TrainingSpec
from workers.base_models import precision
from workers.base_models.precision import Rates
from workers.errors import UserError


def a_spec(**options: Any) -> TrainingSpec:
    return TrainingSpec(name="m", base="b", dataset="d", **options)


@pytest.fixture
def a_cpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say how much longer a product takes in bfloat16."""

    def of(slower: float) -> None:
        monkeypatch.setattr(precision, "cpu_rates", lambda: Rates(float32=50.0, bfloat16=50.0 / slower, slower=slower, threads=2))

    return of


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say the compute capability of the GPU."""

    def of(major: int, minor: int) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (major, minor))

    return of


@pytest.mark.parametrize(("slower", "dtype"), [(0.25, "bfloat16"), (1.1, "bfloat16"), (1.8, "float32"), (10.0, "float32")])
def test_a_cpu_that_is_slower_in_bfloat16_gets_float32(a_cpu: Any, slower: float, dtype: str) -> None:
    a_cpu(slower)
    chosen = precision.choose_dtype("auto", "cpu")
    assert chosen.dtype == dtype
    assert f"{slower:.1f} times as long" in chosen.reason


def test_what_is_asked_for_is_taken_whatever_the_cpu_does_fast(a_cpu: Any) -> None:
    a_cpu(10.0)
    assert precision.choose_dtype("bfloat16", "cpu").dtype == "bfloat16"
    assert str(precision.choose_dtype("float32", "cpu")) == "float32 (asked for)"


@pytest.mark.parametrize(("capability", "dtype"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float16")])
def test_a_gpu_is_judged_by_its_units_and_not_by_what_it_can_emulate(a_gpu: Any, capability: tuple[int, int], dtype: str) -> None:
    a_gpu(*capability)
    assert precision.choose_dtype("auto", "cuda").dtype == dtype


def test_bfloat16_on_a_gpu_without_it_is_refused_with_the_cure(a_gpu: Any) -> None:
    a_gpu(7, 5)
    with pytest.raises(UserError, match=r"7\.5\) has no bfloat16: set dtype to auto"):
        precision.choose_dtype("bfloat16", "cuda")


def test_this_machine_is_measured_in_both_types() -> None:
    precision.cpu_rates.cache_clear()  # a test before this one may have measured with other threads
    rates = precision.cpu_rates()
    assert rates.float32 > 0
    assert rates.bfloat16 > 0
    assert rates.slower > 0
    assert rates.threads == torch.get_num_threads()


def test_with_its_bfloat16_instructions_switched_off_this_machine_takes_float32() -> None:
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-m", "workers.base_models.precision"], env=environment, capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert result["dtype"] == "float32"
    assert result["slower"] > 2.5


def test_a_recipe_may_name_the_type_in_either_way() -> None:
    assert a_spec().asked_dtype == "auto"
    assert a_spec(dtype="float32").asked_dtype == "float32"
    assert a_spec(bf16=True).asked_dtype == "bfloat16"
    assert a_spec(bf16=False).asked_dtype == "float32"
    assert a_spec(bf16=True, dtype="bfloat16").asked_dtype == "bfloat16"


def test_a_recipe_that_names_two_types_is_refused() -> None:
    with pytest.raises(ValidationError, match="bf16 is true and dtype is float32: leave one of them out"):
        a_spec(bf16=True, dtype="float32")
