"""Builds the DeepSpeed config of a run: one function for all ZeRO stages, and the sizes that depend on the model.

https://www.deepspeed.ai/docs/config-json/ describes the keys. It loads torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import torch

from schemas.training import TrainingSpec
from workers.base_models.precision import Dtype
from workers.training.protocol.progress import FIRST_STEP_ALLOWANCE

BUCKET = 20_000_000
"""The most elements that a reduction gathers: 40 MB in bfloat16. DeepSpeed's own default is 500 million, allocated whatever is trained."""
_GROUP_SPARE = timedelta(minutes=5)


def build_config(spec: TrainingSpec, dtype: Dtype) -> dict[str, Any]:
    """Return the DeepSpeed config of a run, with what `spec.deepspeed` adds.

    DeepSpeed sums gradients over micro-batches in fp32 at ZeRO 1 to 3; at 0 it can't, and `fp32_sums` does.
    The optimizer is always torch's AdamW, which needs no compiler, also where it is offloaded.
    """
    on_gpu = torch.cuda.is_available()
    zero: dict[str, Any] = {"stage": spec.zero_stage}
    if spec.offload_optimizer != "none":
        zero["offload_optimizer"] = {"device": spec.offload_optimizer, "pin_memory": on_gpu}
    if spec.offload_param != "none":
        zero["offload_param"] = {"device": spec.offload_param, "pin_memory": on_gpu}
    config: dict[str, Any] = {
        "train_batch_size": spec.global_batch,
        "train_micro_batch_size_per_gpu": spec.per_device_train_batch_size,
        "gradient_accumulation_steps": spec.gradient_accumulation_steps,
        "gradient_clipping": spec.max_grad_norm,
        "bf16": {"enabled": dtype == "bfloat16"},
        # A loss scale of 0 is DeepSpeed's word for a dynamic one.
        "fp16": {"enabled": dtype == "float16", "loss_scale": 0},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
    }
    if spec.zero_stage:
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return _merged(config, spec.deepspeed or {})


def size_buckets(config: dict[str, Any], trainable: Iterable[torch.nn.Parameter], chosen: Mapping[str, Any] | None) -> None:
    """Set the sizes of DeepSpeed's buckets in `config` by what is trained, but for those that `chosen`, the user's config, has.

    A bucket that is larger than all gradients together is memory for nothing: for the adapter of an 8B model, a gigabyte a rank.
    """
    trained = sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in trainable)
    bucket = max(2, min(BUCKET, trained))
    bucket += bucket % 2  # NCCL's alignment, which DeepSpeed asserts
    zero, own = config["zero_optimization"], (chosen or {}).get("zero_optimization", {})
    for key in ("reduce_bucket_size", "allgather_bucket_size"):
        if key not in own:
            zero[key] = bucket


def group_timeout(stall_timeout: float) -> timedelta:
    """Return how long a rank waits for the others in a collective: longer than the watchdog allows the first step.

    So a rank that hangs is found by the watchdog, which says so, and not by a rank that gives up on it and looks like a crash.
    """
    return timedelta(seconds=stall_timeout * FIRST_STEP_ALLOWANCE) + _GROUP_SPARE


def _merged(base: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in added.items():
        inner = both.get(key)
        both[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both
