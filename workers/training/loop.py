"""The training itself: DeepSpeed through Accelerate, a LoRA adapter, the loss on completions. Imported by a rank alone: it loads torch."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from schemas.payloads import TrainingSpec
from workers.errors import NotFound, UserError
from workers.training.adapters import add_lora, save_adapter
from workers.training.data import Example, Visit, encode, micro_batches, plan_batches, read_conversations
from workers.training.outcome import RESULT_FILE, Rejected, TrainingResult, write_atomically
from workers.training.payload import RunPayload
from workers.training.progress import Done, ProgressWriter, Start, Step
from workers.training.schedule import learning_rate, steps_of
from workers.training.world import check_group, check_slices, fingerprint

IGNORED = -100


@dataclass(frozen=True)
class Trainer:
    """The pieces of a run that the steps need."""

    spec: TrainingSpec
    accelerator: Any
    model: Any
    optimizer: Any
    examples: list[Example]
    batches: list[list[Visit]]
    pad_id: int


def train(run: RunPayload) -> None:
    """Train as `run` says, and leave the adapter, the progress and the result in its folder.

    Raises:
        UserError: when the base model, the data or the group of ranks can't be used.
    """
    begin = time.monotonic()
    accelerator = _accelerator(run)
    tokenizer = _tokenizer(run.spec.base)
    examples, rejected = _examples(run, tokenizer)
    spec = run.spec
    global_batch = spec.per_device_train_batch_size * spec.gradient_accumulation_steps * accelerator.num_processes
    steps = steps_of(len(examples), spec.num_train_epochs, global_batch, spec.max_steps)
    batches = plan_batches([len(example) for example in examples], steps, global_batch, spec.seed)
    _check_world(run.spec, accelerator, batches)
    model, optimizer = _model(spec, accelerator)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = Trainer(spec, accelerator, model, optimizer, examples, batches, pad_id)
    progress = ProgressWriter(run.run_folder) if accelerator.is_main_process else None
    if progress:
        progress.write(_start(trainer, len(rejected)))
    final_loss, tokens = _run_steps(trainer, progress)
    if progress:
        digest = save_adapter(accelerator.unwrap_model(model), run.adapter_folder)
        result = _result(run, trainer, rejected, final_loss, tokens, digest, time.monotonic() - begin)
        progress.write(Done())
        write_atomically(run.run_folder / RESULT_FILE, result.model_dump_json(indent=2))
    accelerator.wait_for_everyone()


def _accelerator(run: RunPayload) -> Any:
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    on_gpu = torch.cuda.is_available()
    _check_device(run.spec, on_gpu)
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
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
    return Accelerator(mixed_precision="bf16" if spec.bf16 else "no", deepspeed_plugin=plugin, kwargs_handlers=[group])


def _check_device(spec: TrainingSpec, on_gpu: bool) -> None:
    if on_gpu and spec.world_size > torch.cuda.device_count():
        raise UserError(f"world_size is {spec.world_size} and this machine shows {torch.cuda.device_count()} GPUs: one rank needs one GPU")
    if on_gpu and spec.bf16 and not torch.cuda.is_bf16_supported():
        raise UserError("this GPU has no bfloat16: set bf16 to false")


def _check_world(spec: TrainingSpec, accelerator: Any, batches: Sequence[list[Visit]]) -> None:
    check_group(
        asked=spec.world_size,
        started=int(os.environ["WORLD_SIZE"]),
        joined=accelerator.num_processes,
        distributed_type=accelerator.distributed_type.value,
    )
    mine = fingerprint(_slices(spec, accelerator, batch)[0] for batch in batches[:8])
    check_slices(accelerator.gather(torch.tensor([mine], device=accelerator.device)).tolist())


def _tokenizer(base: str) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError):
        raise NotFound(f"no base model at {base}: give a folder with config.json and model.safetensors, or a hub id") from None
    if not tokenizer.chat_template:
        raise UserError(f"{base} has no chat template: take the instruct version of this model")
    return tokenizer


def _examples(run: RunPayload, tokenizer: Any) -> tuple[list[Example], list[Rejected]]:
    try:
        conversations, malformed = read_conversations(run.train_file)
    except OSError as error:
        raise NotFound(f"the training file {run.train_file.name} can't be read: {error.strerror}") from None
    examples, too_long = encode(conversations, tokenizer, run.spec.max_length)
    rejected = sorted(malformed + too_long, key=lambda row: row.line)
    if not examples:
        first = f"; {len(rejected)} lines were rejected, the first is line {rejected[0].line}: {rejected[0].reason}" if rejected else ""
        raise UserError(f"the dataset is empty: nothing to train on{first}")
    return examples, rejected


def _model(spec: TrainingSpec, accelerator: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(spec.seed)
    # On a CPU, torch's fused attention is slower backwards than the plain one at the lengths of tweets: 1.3 times the whole step.
    attention = "sdpa" if accelerator.device.type == "cuda" else "eager"
    dtype = torch.bfloat16 if spec.bf16 else torch.float32
    try:
        base = AutoModelForCausalLM.from_pretrained(spec.base, dtype=dtype, attn_implementation=attention, use_safetensors=True)
    except (OSError, ValueError):
        raise NotFound(f"the base model {spec.base} can't be loaded: config.json and safetensors weights are needed") from None
    base.config.use_cache = False
    adapted = add_lora(base, spec)
    trainable = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=spec.learning_rate, weight_decay=spec.weight_decay)
    model, optimizer = accelerator.prepare(adapted, optimizer)
    torch.manual_seed(spec.seed + accelerator.process_index)
    model.train()
    return model, optimizer


def _run_steps(trainer: Trainer, progress: ProgressWriter | None) -> tuple[float, int]:
    """Make every step; return the loss of the last one and the number of tokens seen by all ranks."""
    spec, total = trainer.spec, len(trainer.batches)
    tokens, loss, begin = 0, float("nan"), time.monotonic()
    for step, batch in enumerate(trainer.batches):
        rate = learning_rate(step, total, spec.learning_rate, spec.warmup_ratio, spec.lr_scheduler_type)
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        total_loss = _make_step(trainer, batch)
        tokens += sum(len(trainer.examples[visit.index]) for visit in batch)
        if (step + 1) % spec.logging_steps == 0 or step + 1 == total:
            loss = trainer.accelerator.reduce(total_loss, "sum").item()
            elapsed = time.monotonic() - begin
            event = Step(
                step=step + 1,
                loss=loss,
                tokens_per_second=tokens / elapsed,
                eta_seconds=elapsed / (step + 1) * (total - step - 1),
                learning_rate=rate,
            )
            if progress:
                progress.write(event)
        elif progress:
            progress.beat()
    return loss, tokens


def _slices(spec: TrainingSpec, accelerator: Any, batch: Sequence[Visit]) -> list[list[Visit]]:
    return micro_batches(batch, accelerator.process_index, accelerator.num_processes, spec.gradient_accumulation_steps)


def _make_step(trainer: Trainer, batch: list[Visit]) -> torch.Tensor:
    """One optimizer step; return this rank's share of the mean loss over the completion tokens of the global batch."""
    accelerator = trainer.accelerator
    targets = sum(len(trainer.examples[visit.index].completion_ids) for visit in batch)
    # DeepSpeed averages over ranks and micro-batches, which would weigh a rank with short completions too much.
    averaged_over = accelerator.num_processes * trainer.spec.gradient_accumulation_steps
    share = torch.zeros((), device=accelerator.device)
    for visits in _slices(trainer.spec, accelerator, batch):
        with accelerator.accumulate(trainer.model):
            summed = _summed_loss(trainer, [trainer.examples[visit.index] for visit in visits])
            accelerator.backward(summed * (averaged_over / targets))
            share += summed.detach() / targets
    return share


def _summed_loss(trainer: Trainer, examples: Sequence[Example]) -> torch.Tensor:
    """Cross-entropy summed over the completion tokens.

    Rows are padded on the left, so that all completions end in the last column and the language-model head, a quarter of the
    work of a small model, is computed for the longest completion only.
    """
    device = trainer.accelerator.device
    width = max(len(example) for example in examples)
    keep = max(len(example.completion_ids) for example in examples)
    ids = torch.full((len(examples), width), trainer.pad_id)
    mask = torch.zeros((len(examples), width), dtype=torch.long)
    labels = torch.full((len(examples), keep), IGNORED)
    for row, example in enumerate(examples):
        ids[row, width - len(example) :] = torch.tensor(example.prompt_ids + example.completion_ids)
        mask[row, width - len(example) :] = 1
        labels[row, keep - len(example.completion_ids) :] = torch.tensor(example.completion_ids)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    output = trainer.model(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        position_ids=positions.to(device),
        # Indices, not a number: a slice is not contiguous, and the head would then copy its weights once a row.
        logits_to_keep=torch.arange(width - keep - 1, width - 1, device=device),
    )
    logits = output.logits.float()
    return cross_entropy(logits.flatten(0, 1), labels.to(device).flatten(), ignore_index=IGNORED, reduction="sum")


def _start(trainer: Trainer, dropped: int) -> Start:
    accelerator = trainer.accelerator
    return Start(
        world_size=accelerator.num_processes,
        backend=torch.distributed.get_backend(),
        zero_stage=trainer.spec.zero_stage,
        device=accelerator.device.type,
        trainable_parameters=sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad),
        total_steps=len(trainer.batches),
        dropped=dropped,
    )


def _result(
    run: RunPayload, trainer: Trainer, rejected: list[Rejected], final_loss: float, tokens: int, digest: str, seconds: float
) -> TrainingResult:
    return TrainingResult(
        adapter=run.adapter_folder,
        sha256=digest,
        steps=len(trainer.batches),
        final_loss=final_loss,
        world_size=trainer.accelerator.num_processes,
        backend=torch.distributed.get_backend(),
        zero_stage=run.spec.zero_stage,
        device=trainer.accelerator.device.type,
        seconds=seconds,
        tokens=tokens,
        examples=len(trainer.examples),
        rejected=tuple(rejected),
    )
