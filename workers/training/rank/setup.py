"""Sets up a rank before its first step: precision, process group, examples, model and optimizer. It loads torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from schemas.training import TrainingSpec
from workers.base_models import precision
from workers.base_models.precision import Dtype, Precision
from workers.errors import NotFound, UserError
from workers.settings import ENVIRONMENT
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import ProgressWriter, Tokenizing
from workers.training.rank.device import read_memory_through_torch
from workers.training.rank.examples.token_store import TokenizedExamples, tokenized
from workers.training.rank.methods.method import Method
from workers.training.rank.zero.config import build_config, group_timeout, size_buckets
from workers.training.rank.zero.fp32_sums import sum_in_fp32

BEAT_SECONDS = 5.0

_MIXED_PRECISION: Mapping[Dtype, str] = {"bfloat16": "bf16", "float16": "fp16", "float32": "no"}


def agree_on_precision(run: RunPayload, rank: int, world_size: int) -> Precision:
    """Return the type of the weights, the same on all ranks: rank 0 chooses, since two that measure at once could differ.

    Raises:
        UserError: this machine lacks what the run asks for.
    """
    store = _store(run, world_size)
    if rank == 0:
        chosen = _choose_precision(run)
        store.set("dtype", chosen.dtype)
        store.set("reason", chosen.reason)
    return Precision(cast("Dtype", store.get("dtype").decode()), store.get("reason").decode())


def _store(run: RunPayload, world_size: int) -> Any:
    """Return where the ranks leave word for each other before their group is formed: a file, or the leader's store for several nodes."""
    if run.meeting is None:
        return torch.distributed.FileStore(str(run.precision_file), world_size)
    leaders = torch.distributed.TCPStore(ENVIRONMENT["MASTER_ADDR"], int(ENVIRONMENT["MASTER_PORT"]), is_master=False)
    return torch.distributed.PrefixStore("precision", leaders)


def _choose_precision(run: RunPayload) -> Precision:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if run.dtype == "float16" and device == "cpu":
        return Precision("float32", "the checkpoint's float16 trains on GPUs alone")
    if run.dtype is not None:
        return Precision(run.dtype, "as in the checkpoint")
    if device == "cpu" and run.spec.asked_dtype == "float16":
        raise UserError("dtype float16 trains on GPUs alone: on this CPU set dtype to auto, float32 or bfloat16")
    return precision.choose_dtype(run.spec.asked_dtype, device)


def start_accelerator(run: RunPayload, rank: int, world_size: int, dtype: Dtype) -> Any:
    """Join the process group and return the accelerator, with DeepSpeed configured.

    Raises:
        UserError: this machine lacks what the run asks for.
    """
    on_gpu = torch.cuda.is_available()
    _check_device(run.spec, on_gpu)
    if on_gpu:
        read_memory_through_torch()
    else:
        # Its shared-memory collective needs a compiler at the first start, and hangs for ever when that start is killed half-way.
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__.pop("deepspeed_shm_comm", None)
    from accelerate import Accelerator
    from accelerate.utils import DeepSpeedPlugin, InitProcessGroupKwargs

    config = build_config(run.spec, dtype)
    check_config(run.spec, config)
    group = InitProcessGroupKwargs(
        backend="nccl" if on_gpu else "gloo",
        # torchrun's agents of several nodes have met, and say in the environment where.
        init_method="env://" if run.meeting else f"file://{run.store_file}?rank={rank}&world_size={world_size}",
        timeout=group_timeout(run.spec.stall_timeout),
    )
    # At ZeRO-3 the plugin also has transformers build the model in shards, `deepspeed.zero.Init`; it must live until then.
    return Accelerator(
        mixed_precision=_MIXED_PRECISION[dtype], deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=config), kwargs_handlers=[group]
    )


def check_config(spec: TrainingSpec, config: dict[str, Any]) -> None:
    """Have DeepSpeed read the config before anything is loaded, where a part of it is the user's.

    Raises:
        UserError: with what DeepSpeed says of it.
    """
    if spec.deepspeed is None:
        return
    from deepspeed.runtime.config import DeepSpeedConfig

    try:
        DeepSpeedConfig({**config, "train_batch_size": spec.per_device_train_batch_size * spec.gradient_accumulation_steps})
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"deepspeed: DeepSpeed does not take this config: {reason[:500]}") from error


def _check_device(spec: TrainingSpec, on_gpu: bool) -> None:
    shown = torch.cuda.device_count() if on_gpu else 0
    if on_gpu and spec.ranks_per_node > shown:
        raise UserError(
            f"world_size {spec.world_size} on {spec.nodes} nodes needs {spec.ranks_per_node} GPUs a node, one a rank, "
            f"and this machine shows {shown}"
        )


def read_examples(run: RunPayload, tokenizer: Any, base: Path, local_rank: int, progress: ProgressWriter | None) -> TokenizedExamples:
    """Return the examples of the training file, encoded by the first rank of the node or by an earlier start.

    Args:
        run: what is trained.
        tokenizer: of the base model.
        base: its folder.
        local_rank: this rank's number on its node.
        progress: is told every few seconds how far the encoding is, which also keeps the watchdog quiet.

    Raises:
        UserError: no example is left.
    """
    beat = _Beat(progress) if progress else None
    try:
        examples = tokenized(run.train_file, tokenizer, base, run.spec.max_length, run.tokens_folder, writes=local_rank == 0, beat=beat)
    except (FileNotFoundError, PermissionError) as error:
        raise NotFound(f"the training file {run.train_file.name} can't be read: {error.strerror}") from None
    if not len(examples):
        first = next(iter(examples.rejected), None)
        why = f"; {examples.dropped} lines were rejected, the first is line {first.line}: {first.reason}" if first else ""
        raise UserError(f"the dataset is empty: nothing to train on{why}")
    return examples


class _Beat:
    """Writes how far the encoding is, when some seconds have passed."""

    def __init__(self, progress: ProgressWriter) -> None:
        self._progress = progress
        self._last = time.monotonic()

    def __call__(self, examples: int, share: float) -> None:
        if time.monotonic() - self._last >= BEAT_SECONDS:
            self._last = time.monotonic()
            self._progress.write(Tokenizing(examples_tokenized=examples, share_read=round(share, 4)))


def load_trainable(spec: TrainingSpec, method: Method, folder: Path, tokenizer: Any, accelerator: Any, dtype: Dtype) -> tuple[Any, Any]:
    """Load the base model of a folder as the method trains it, and its optimizer; both wrapped by DeepSpeed.

    Raises:
        UserError: the base can't be used.
    """
    torch.manual_seed(spec.seed)
    # On a CPU, torch's fused attention is slower backwards than the plain one at the lengths of tweets: 1.3 times the whole step. On
    # others transformers takes it for those models that can.
    options: dict[str, Any] = {"attn_implementation": "eager"} if accelerator.device.type == "cpu" else {}
    weights_dtype: torch.dtype = getattr(torch, dtype)
    adapted: Any = method.load(spec, folder, tokenizer, dtype=weights_dtype, **options)
    if spec.gradient_checkpointing:
        # Non-reentrant: the inputs of a block need no gradient, so none is computed for what lies below the first trained weight.
        adapted.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    trainable = list(method.trainable(adapted).values())
    if spec.zero_stage == 3:
        _cast_what_is_new(adapted, weights_dtype)
    size_buckets(accelerator.deepspeed_plugin.deepspeed_config, trainable, spec.deepspeed)
    # The fused kernel updates offloaded weights at the speed of the host's memory, and needs no compiler.
    fused = True if spec.offload_optimizer != "none" else None
    optimizer = torch.optim.AdamW(trainable, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=fused)
    model, optimizer = accelerator.prepare(adapted, optimizer)
    if spec.zero_stage == 0 and dtype != "float32" and spec.gradient_accumulation_steps > 1:
        sum_in_fp32(trainable, model.is_gradient_accumulation_boundary)
    model.train()
    return model, optimizer


def _cast_what_is_new(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Give the weights that a method added the type of the base's: at ZeRO-3 DeepSpeed leaves that to whoever builds the model."""
    for parameter in model.parameters():
        if not hasattr(parameter, "ds_id") and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
