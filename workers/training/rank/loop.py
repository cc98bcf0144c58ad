"""Trains a model on this rank: DeepSpeed through Accelerate, the loss on completions. Imported by a rank alone: it loads torch."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch

from schemas.training import TrainingSpec
from workers import files
from workers.base_models import loading
from workers.base_models.chat_template import chat_format
from workers.base_models.files import BaseRecord, digest
from workers.gpus.driver import usable_gpus
from workers.settings import ENVIRONMENT, get_settings
from workers.training.protocol.outcome import RESULT_FILE, RejectedLine, TrainingResult
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import Done, ProgressWriter, Start, Step
from workers.training.rank.checkpointer import Checkpointer, Signal
from workers.training.rank.data import Visit, plan_batches
from workers.training.rank.device import choose_device
from workers.training.rank.group_checks import check_group, check_slices, visits_fingerprint
from workers.training.rank.methods import METHODS
from workers.training.rank.schedule import learning_rate, steps_of
from workers.training.rank.setup import agree_on_precision, load_trainable, read_examples, start_accelerator
from workers.training.rank.step import Trainer, make_step, seed_of, slices


def train(run: RunPayload) -> None:
    """Train as `run` says, and leave the adapter, the progress and the result in its folder.

    Raises:
        UserError: when the base model, the data, the checkpoint or the group of ranks can't be used.
        Preempted: it was asked to leave.
    """
    begin = time.monotonic()
    if choose_device(run.spec.device, usable_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES"))) == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    rank, world_size = int(ENVIRONMENT["RANK"]), int(ENVIRONMENT["WORLD_SIZE"])
    precision = agree_on_precision(run, rank, world_size)
    accelerator = start_accelerator(run, rank, world_size, precision.dtype)
    folder = loading.fetch_base(run.spec.base)
    tokenizer = loading.load_tokenizer(folder)
    record = BaseRecord(
        base=run.spec.base, sha256=digest(folder, get_settings().models_folder), end_of_turn=chat_format(tokenizer).end_of_turn
    )
    examples, rejected = read_examples(run, tokenizer)
    spec = run.spec
    steps = steps_of(len(examples), spec.num_train_epochs, spec.global_batch, spec.max_steps)
    batches = plan_batches([len(example) for example in examples], steps, spec.global_batch, spec.seed)
    _check_process_group(spec, world_size, accelerator, batches)
    method = METHODS[spec.method]
    model, optimizer = load_trainable(spec, method, folder, tokenizer, accelerator, precision.dtype)
    # What pads is masked: any token serves where the tokenizer names none.
    pad_id = next((number for number in (tokenizer.pad_token_id, tokenizer.eos_token_id) if number is not None), 0)
    trainer = Trainer(spec, method, accelerator, model, optimizer, examples, batches, pad_id, precision)
    progress = ProgressWriter(run.run_folder) if accelerator.is_main_process else None
    # DeepSpeed asks for its accelerator as soon as any part of it is imported.
    from workers.training.rank.zero_checkpointer import ZeroCheckpointer
    from workers.training.rank.zero_state import gather_weights

    checkpointer = ZeroCheckpointer(run, trainer, progress, begin)
    first, tokens = checkpointer.resume()
    if progress:
        progress.write(_start(trainer, len(rejected), first))
    final_loss, tokens = _run_steps(trainer, checkpointer, progress, first, tokens)
    weights = gather_weights(method.trainable(model.module), keep=progress is not None)
    if progress:
        sha256 = method.export(model.module, run.adapter_folder, record, weights)
        result = _result(run, trainer, rejected, final_loss, tokens, sha256, checkpointer.seconds, first)
        result = result.model_copy(update={"base_sha256": record.sha256})
        progress.write(Done())
        files.write_text(run.run_folder / RESULT_FILE, result.model_dump_json(indent=2), sync=True)
    else:
        deque(weights, maxlen=0)
    accelerator.wait_for_everyone()


def _check_process_group(spec: TrainingSpec, started: int, accelerator: Any, batches: Sequence[list[Visit]]) -> None:
    check_group(
        asked=spec.world_size,
        started=started,
        joined=accelerator.num_processes,
        distributed_type=accelerator.distributed_type.value,
    )
    mine = visits_fingerprint(slices(spec, accelerator, batch)[0] for batch in batches[:8])
    check_slices(accelerator.gather(torch.tensor([mine], device=accelerator.device)).tolist())


def _run_steps(trainer: Trainer, checkpointer: Checkpointer, progress: ProgressWriter | None, first: int, tokens: int) -> tuple[float, int]:
    """Make every step after `first`; return the loss of the last one and the number of tokens seen by all ranks."""
    spec, total = trainer.spec, len(trainer.batches)
    loss, begin, earlier = float("nan"), time.monotonic(), tokens
    for step in range(first, total):
        torch.manual_seed(seed_of(spec.seed, trainer.accelerator.process_index, step))
        rate = learning_rate(step, total, spec.learning_rate, spec.warmup_ratio, spec.lr_scheduler_type)
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        share = make_step(trainer, trainer.batches[step])
        tokens += sum(len(trainer.examples[visit.index]) for visit in trainer.batches[step])
        loss, signal = _agree(trainer.accelerator, share, checkpointer.pending(step + 1))
        elapsed = time.monotonic() - begin
        if progress and ((step + 1) % spec.logging_steps == 0 or step + 1 == total):
            event = Step(
                step=step + 1,
                loss=loss,
                tokens_per_second=(tokens - earlier) / elapsed,
                eta_seconds=elapsed / (step + 1 - first) * (total - step - 1),
                learning_rate=rate,
            )
            progress.write(event)
        elif progress:
            progress.beat()
        checkpointer.handle(signal, step + 1, tokens)
    return loss, tokens


def _agree(accelerator: Any, share: torch.Tensor, signal: Signal) -> tuple[float, Signal]:
    """Return the mean loss over all ranks, and rank 0's signal: one collective for both, since the other ranks' signals are 0."""
    mine = torch.stack([share, torch.tensor(float(signal), device=share.device)])
    loss, agreed = accelerator.reduce(mine, "sum").tolist()
    return loss, Signal(int(agreed))


def _start(trainer: Trainer, dropped: int, resumed_from: int) -> Start:
    accelerator = trainer.accelerator
    return Start(
        world_size=accelerator.num_processes,
        backend=torch.distributed.get_backend(),
        zero_stage=trainer.spec.zero_stage,
        device=accelerator.device.type,
        trainable_parameters=sum(
            getattr(parameter, "ds_numel", parameter.numel()) for parameter in trainer.method.trainable(trainer.model.module).values()
        ),
        total_steps=len(trainer.batches),
        dropped=dropped,
        resumed_from=resumed_from,
        dtype=trainer.precision.dtype,
        dtype_reason=trainer.precision.reason,
    )


def _result(
    run: RunPayload,
    trainer: Trainer,
    rejected: list[RejectedLine],
    final_loss: float,
    tokens: int,
    digest: str,
    seconds: float,
    resumed_from: int,
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
        dtype=trainer.precision.dtype,
        dtype_reason=trainer.precision.reason,
        resumed_from=resumed_from,
    )
