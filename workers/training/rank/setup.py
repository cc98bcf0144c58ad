"""Sets up a rank before its first step: precision, process group, examples, model and optimizer. It loads torch."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch

from schemas.training import TrainingSpec
from workers.base_models import precision
from workers.base_models.precision import Dtype, Precision
from workers.errors import NotFound, UserError
from workers.training.protocol.outcome import RejectedLine
from workers.training.protocol.payload import RunPayload
from workers.training.rank.data import TokenizedExample, encode_conversations, read_conversations
from workers.training.rank.methods import Method


def agree_on_precision(run: RunPayload, rank: int, world_size: int) -> Precision:
    """Return the type of the weights, the same on all ranks: rank 0 chooses, since two that measure at once could differ.

    Raises:
        UserError: this machine lacks what the run asks for.
    """
    store = torch.distributed.FileStore(str(run.precision_file), world_size)
    if rank == 0:
        chosen = _choose_precision(run)
        store.set("dtype", chosen.dtype)
        store.set("reason", chosen.reason)
    return Precision(cast("Dtype", store.get("dtype").decode()), store.get("reason").decode())


def _choose_precision(run: RunPayload) -> Precision:
    if run.dtype is not None:
        return Precision(run.dtype, "as in the checkpoint")
    chosen = precision.choose_dtype(run.spec.asked_dtype, "cuda" if torch.cuda.is_available() else "cpu")
    if chosen.dtype == "float16":  # its gradients would need a scaled loss
        return Precision("float32", f"{chosen.reason}, which has no bfloat16")
    return chosen


def start_accelerator(run: RunPayload, rank: int, world_size: int, dtype: Dtype) -> Any:
    """Join the process group and return the accelerator, with DeepSpeed configured.

    Raises:
        UserError: this machine lacks what the run asks for.
    """
    on_gpu = torch.cuda.is_available()
    _check_device(run.spec, on_gpu)
    if not on_gpu:
        # Its shared-memory collective needs a compiler at the first start, and hangs for ever when that start is killed half-way.
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__.pop("deepspeed_shm_comm", None)
    from accelerate import Accelerator
    from accelerate.utils import DeepSpeedPlugin, InitProcessGroupKwargs

    spec = run.spec
    plugin = DeepSpeedPlugin(
        zero_stage=spec.zero_stage,
        gradient_clipping=spec.max_grad_norm,
        gradient_accumulation_steps=spec.gradient_accumulation_steps,
    )
    plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = spec.per_device_train_batch_size
    group = InitProcessGroupKwargs(
        backend="nccl" if on_gpu else "gloo",
        init_method=f"file://{run.store_file}?rank={rank}&world_size={world_size}",
        timeout=timedelta(hours=1),
    )
    return Accelerator(mixed_precision="bf16" if dtype == "bfloat16" else "no", deepspeed_plugin=plugin, kwargs_handlers=[group])


def _check_device(spec: TrainingSpec, on_gpu: bool) -> None:
    if on_gpu and spec.world_size > torch.cuda.device_count():
        raise UserError(f"world_size is {spec.world_size} and this machine shows {torch.cuda.device_count()} GPUs: one rank needs one GPU")


def read_examples(run: RunPayload, tokenizer: Any) -> tuple[list[TokenizedExample], list[RejectedLine]]:
    """Return the examples of the training file, and the lines that can't be used.

    Raises:
        UserError: no example is left.
    """
    try:
        conversations, malformed = read_conversations(run.train_file)
    except OSError as error:
        raise NotFound(f"the training file {run.train_file.name} can't be read: {error.strerror}") from None
    examples, too_long = encode_conversations(conversations, tokenizer, run.spec.max_length)
    rejected = sorted(malformed + too_long, key=lambda row: row.line)
    if not examples:
        first = f"; {len(rejected)} lines were rejected, the first is line {rejected[0].line}: {rejected[0].reason}" if rejected else ""
        raise UserError(f"the dataset is empty: nothing to train on{first}")
    return examples, rejected


def load_trainable(spec: TrainingSpec, method: Method, folder: Path, tokenizer: Any, accelerator: Any, dtype: Dtype) -> tuple[Any, Any]:
    """Load the base model of a folder as the method trains it, and its optimizer; both wrapped by DeepSpeed.

    Raises:
        UserError: the base can't be used.
    """
    torch.manual_seed(spec.seed)
    # On a CPU, torch's fused attention is slower backwards than the plain one at the lengths of tweets: 1.3 times the whole step.
    attention = "sdpa" if accelerator.device.type == "cuda" else "eager"
    adapted = method.load(spec, folder, tokenizer, dtype=getattr(torch, dtype), attn_implementation=attention)
    optimizer = torch.optim.AdamW(list(method.trainable(adapted).values()), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    model, optimizer = accelerator.prepare(adapted, optimizer)
    model.train()
    return model, optimizer
