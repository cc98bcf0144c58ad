"""One function says how DeepSpeed is set up: the recipe's keys, the user's own config, sizes that fit what is trained, and patience."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.training import TrainingSpec
from tests.support.ranks import a_spec
from workers.errors import UserError
from workers.training.launcher.supervisor import Watchdog
from workers.training.rank.zero.config import BUCKET, build_config, group_timeout, size_buckets
from workers.training.rank.zero.fp32_sums import sum_in_fp32


def spec(**changes: Any) -> TrainingSpec:
    return a_spec(Path("base"), **changes)


def parameters(*sizes: int) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.empty(size, device="meta")) for size in sizes]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_each_stage_is_set_up_from_the_same_keys(stage: int) -> None:
    config = build_config(
        spec(zero_stage=stage, per_device_train_batch_size=2, gradient_accumulation_steps=3, max_grad_norm=0.5), "bfloat16"
    )

    assert config["zero_optimization"]["stage"] == stage
    assert (config["train_batch_size"], config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]) == (12, 2, 3)
    assert config["gradient_clipping"] == 0.5
    assert (config["bf16"]["enabled"], config["fp16"]["enabled"]) == (True, False)
    assert config.get("data_types") == ({"grad_accum_dtype": "fp32"} if stage else None), "at 0 we sum ourselves"


def test_float16_scales_its_loss_dynamically() -> None:
    assert build_config(spec(), "float16")["fp16"] == {"enabled": True, "loss_scale": 0}


def test_what_is_offloaded_needs_no_compiled_optimizer() -> None:
    config = build_config(spec(zero_stage=3, offload_optimizer="cpu", offload_param="cpu"), "bfloat16")

    assert config["zero_force_ds_cpu_optimizer"] is False
    assert [config["zero_optimization"][key]["device"] for key in ("offload_optimizer", "offload_param")] == ["cpu", "cpu"]


def test_a_config_of_ones_own_adds_to_what_the_recipe_says_and_is_not_changed() -> None:
    own = {"zero_optimization": {"overlap_comm": True, "offload_optimizer": {"pin_memory": True}, "reduce_bucket_size": 5}}
    recipe = spec(zero_stage=2, offload_optimizer="cpu", deepspeed=own)
    config = build_config(recipe, "float32")
    size_buckets(config, parameters(1000), recipe.deepspeed)

    zero = config["zero_optimization"]
    assert (zero["overlap_comm"], zero["stage"], zero["offload_optimizer"]) == (True, 2, {"device": "cpu", "pin_memory": True})
    assert (zero["reduce_bucket_size"], zero["allgather_bucket_size"]) == (5, 1000)
    assert own == {"zero_optimization": {"overlap_comm": True, "offload_optimizer": {"pin_memory": True}, "reduce_bucket_size": 5}}


def test_a_config_that_deepspeed_does_not_take_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "DS_ACCELERATOR", "cpu")
    from workers.training.rank.setup import check_config

    good = spec(deepspeed={"zero_optimization": {"overlap_comm": True}})
    check_config(good, build_config(good, "float32"))
    bad = spec(deepspeed={"zero_optimization": {"overlap_comm": "perhaps"}})
    with pytest.raises(UserError, match=r"deepspeed: DeepSpeed does not take this config: .*overlap_comm"):
        check_config(bad, build_config(bad, "float32"))


@pytest.mark.parametrize(("sizes", "bucket"), [((300, 41), 342), ((1,), 2), ((BUCKET, BUCKET), BUCKET)])
def test_buckets_are_no_larger_than_what_is_trained(sizes: tuple[int, ...], bucket: int) -> None:
    config = build_config(spec(), "bfloat16")
    size_buckets(config, parameters(*sizes), None)
    assert config["zero_optimization"]["reduce_bucket_size"] == bucket


@pytest.mark.parametrize("stall_timeout", [10.0, 900.0])
def test_a_rank_waits_for_the_others_longer_than_the_watchdog_allows_the_first_step(stall_timeout: float, tmp_path: Path) -> None:
    assert group_timeout(stall_timeout).total_seconds() > Watchdog(tmp_path / "progress.jsonl", stall_timeout).limit


def test_small_gradients_are_not_lost_beside_a_large_one() -> None:
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    left = [1.0] + [1 / 512] * 256
    sum_in_fp32([weight], lambda: not left)

    while left:
        gradient = left.pop(0)
        (weight * torch.tensor(gradient, dtype=torch.bfloat16)).sum().backward()

    assert weight.grad is not None
    assert weight.grad.item() == 1.5, "in bfloat16 it would have stayed 1"
