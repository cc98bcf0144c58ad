"""The ledger of a rank's memory: what falls with ZeRO, checkpointing, offload and four bits, and what fits on which card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from schemas.training import TrainingSpec
from workers.errors import UserError
from workers.estimates import fitting
from workers.estimates.architecture import read_architecture
from workers.estimates.fitting import check_fits, judge
from workers.estimates.machine import Device, device_for
from workers.estimates.memory import GIB, Estimate, estimate
from workers.gpus.inventory import Gpu
from workers.memory import host_memory

CONFIGS = Path(__file__).parents[2] / "support" / "configs"
SMALL, LARGE = read_architecture(CONFIGS / "llama-3.2-1b"), read_architecture(CONFIGS / "llama-3.1-8b")
MODELS = {"1B": SMALL, "8B": LARGE}


def a_spec(**changes: Any) -> TrainingSpec:
    short = {"name": "m", "base": "b", "dataset": "d", "zero_stage": 0, "max_length": 256}
    return TrainingSpec(**short | changes)


def needed(model: str, **changes: Any) -> Estimate:
    return estimate(MODELS[model], a_spec(**changes), on_gpu=True, dtype_bytes=2)


def a_card(gib: float, *, capability: tuple[int, int] = (8, 0)) -> Gpu:
    return Gpu("GPU-1", "NVIDIA A100", int(gib * GIB), 0, "580.1", capability)


@pytest.mark.parametrize("name", ["llama-3.2-1b", "llama-3.1-8b"])
def test_weights_are_the_bytes_of_the_model_itself(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(CONFIGS / name), dtype=torch.bfloat16)
    held = sum(tensor.nbytes for tensor in model.parameters())
    found = estimate(read_architecture(CONFIGS / name), a_spec(method="full"), on_gpu=True, dtype_bytes=2).memory
    assert found.weights == held
    assert (found.gradients, found.optimizer) == (held, 6 * held), "two moments and a copy in fp32"


@pytest.mark.parametrize(
    ("model", "recipe", "card", "fits"),
    [
        ("1B", {}, 24, True),
        ("1B", {"max_length": 2048, "per_device_train_batch_size": 16}, 24, False),
        ("1B", {"max_length": 2048, "per_device_train_batch_size": 16, "gradient_checkpointing": True}, 24, True),
        ("1B", {"method": "full"}, 24, False),
        ("1B", {"method": "full"}, 40, True),
        ("1B", {"method": "freeze"}, 24, True),
        ("1B", {"method": "expand"}, 24, True),
        ("8B", {"per_device_train_batch_size": 8}, 24, False),
        ("8B", {"gradient_checkpointing": True}, 24, True),
        ("8B", {"method": "qlora", "gradient_checkpointing": True}, 12, True),
        ("8B", {"max_length": 2048}, 80, True),
        ("8B", {"max_length": 2048, "per_device_train_batch_size": 16}, 80, False),
        ("8B", {"method": "freeze"}, 24, False),
        ("8B", {"method": "freeze"}, 80, True),
        ("8B", {"method": "expand"}, 80, True),
        ("8B", {"method": "full"}, 80, False),
        ("8B", {"method": "full", "world_size": 8, "zero_stage": 3}, 80, True),
        ("8B", {"method": "full", "world_size": 8, "zero_stage": 2}, 80, True),
        ("8B", {"method": "full", "zero_stage": 2, "offload_optimizer": "cpu"}, 80, True),
        ("8B", {"method": "full", "world_size": 16, "nodes": 2, "zero_stage": 3, "gradient_checkpointing": True}, 24, True),
    ],
)
def test_what_fits_on_a_card(model: str, recipe: dict[str, Any], card: int, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "host_memory", lambda: 256 * GIB)
    verdict = judge(MODELS[model], a_spec(**recipe), Device(True, card * GIB, 2, "a card"))
    assert verdict.fits is fits, verdict.estimate.memory


def test_zero_shards_what_its_paper_says() -> None:
    by_stage = [needed("8B", method="full", world_size=8, zero_stage=stage).memory for stage in range(4)]
    assert [each.optimizer for each in by_stage[1:]] == [by_stage[0].optimizer // 8] * 3
    assert by_stage[1].gradients == 8 * by_stage[2].gradients == 8 * by_stage[3].gradients
    assert by_stage[2].weights == by_stage[0].weights > 5 * by_stage[3].weights
    assert by_stage[0].total > by_stage[1].total > by_stage[2].total > by_stage[3].total


def test_offloading_moves_bytes_to_the_host() -> None:
    here = needed("8B", method="full", zero_stage=3).memory
    there = needed("8B", method="full", zero_stage=3, offload_optimizer="cpu", offload_param="cpu").memory
    assert here.host == 0
    assert there.host == here.optimizer + here.weights
    assert there.optimizer == 0
    assert there.weights < here.weights / 5, "the layers that compute, and no more"


def test_buckets_are_no_larger_than_what_is_trained() -> None:
    adapter, whole = (needed("8B", method=method, zero_stage=2) for method in ("lora", "full"))
    assert adapter.memory.overhead - needed("8B").memory.overhead == 20_000_000 * 4
    assert whole.memory.overhead == adapter.memory.overhead
    assert needed("1B", zero_stage=2).memory.overhead < adapter.memory.overhead


@pytest.mark.parametrize(
    ("recipe", "gib", "words"),
    [
        ({"per_device_train_batch_size": 8}, 24, "per_device_train_batch_size=4 gradient_accumulation_steps=2"),
        ({"per_device_train_batch_size": 4, "max_length": 1024}, 24, "per_device_train_batch_size=1 gradient_accumulation_steps=4"),
        ({"per_device_train_batch_size": 1, "max_length": 1536}, 24, "gradient_checkpointing=true"),
        ({"per_device_train_batch_size": 1}, 12, "gradient_checkpointing=true method=qlora zero_stage=0"),
        ({"method": "full", "world_size": 8, "zero_stage": 2}, 28, "gradient_checkpointing=true zero_stage=3"),
        ({"per_device_train_batch_size": 1}, 2, None),
    ],
)
def test_the_nearest_setting_that_fits_is_named(recipe: dict[str, Any], gib: int, words: str | None) -> None:
    verdict = judge(LARGE, a_spec(**recipe), Device(True, gib * GIB, 2, "a card"))
    assert not verdict.fits
    assert verdict.suggestion == words


def test_what_is_suggested_fits_and_keeps_the_examples_a_step() -> None:
    device, asked = Device(True, 24 * GIB, 2, "a card"), a_spec(per_device_train_batch_size=32, max_length=2048)
    found = judge(LARGE, asked, device).suggestion
    assert found is not None
    changed = a_spec(**asked.model_dump() | dict(word.split("=") for word in found.split()))
    assert judge(LARGE, changed, device).fits
    assert changed.global_batch == asked.global_batch


def test_a_training_that_can_not_fit_is_refused_with_what_would() -> None:
    base = CONFIGS / "llama-3.1-8b"
    card = Device(True, 12 * GIB, 2, "NVIDIA RTX 3060")
    with pytest.raises(UserError, match=r"does not fit into memory: .* NVIDIA RTX 3060 has 12\.0; what fits: gradient_checkpointing=true"):
        check_fits(base, a_spec(), card)
    warning = check_fits(base, a_spec(per_device_train_batch_size=8), Device(True, 24 * GIB, 2, "a card"))
    assert warning is not None
    assert "the micro-batch is halved if need be; what fits: per_device_train_batch_size=4" in warning
    assert check_fits(base, a_spec(), Device(True, 80 * GIB, 2, "a card")) is None


def test_a_recipe_goes_to_the_device_that_it_asks_for() -> None:
    assert device_for(a_spec(device="cuda"), ()) is None
    on_cpu = device_for(a_spec(world_size=2), ())
    assert on_cpu is not None
    assert (on_cpu.on_gpu, on_cpu.dtype_bytes) == (False, 4)
    assert on_cpu.bytes == pytest.approx(host_memory() / 2, rel=0.2)
    smallest = device_for(a_spec(), (a_card(80), a_card(24)))
    assert smallest == Device(True, 24 * GIB, 2, "NVIDIA A100")
    assert device_for(a_spec(device="cpu"), (a_card(80),)) != smallest
