"""Trains a model on this rank: DeepSpeed through Accelerate, the loss on completions. Imported by a rank alone: it loads torch."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch

from schemas.training import TrainingSpec
from workers import files
from workers.base_models import loading
from workers.base_models.chat_template import chat_format
from workers.base_models.files import BaseRecord, digest
from workers.gpus.driver import usable_gpus
from workers.settings import ENVIRONMENT, get_settings, set_variable
from workers.training.protocol.outcome import RESULT_FILE, TrainingResult
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import Done, ProgressWriter, Start, Step
from workers.training.rank.accounting import accelerators, count_parameters, peak_memory, versions
from workers.training.rank.checkpointer import Checkpointer, Signal
from workers.training.rank.completion_loss import CompletionLoss
from workers.training.rank.device import choose_device
from workers.training.rank.evaluation.evaluation import Evaluation
from workers.training.rank.examples.plan import BatchPlan
from workers.training.rank.group_checks import check_group, check_slices, visits_fingerprint
from workers.training.rank.methods import METHODS
from workers.training.rank.schedule import learning_rate, steps_of
from workers.training.rank.setup import agree_on_precision, load_trainable, read_examples, start_accelerator
from workers.training.rank.step import Trainer, check_packing, make_step, seed_of, slices
from workers.training.rank.tracking import TrackedProgress


def train(run: RunPayload) -> None:
    """Train as `run` says, and leave the adapter, the progress and the result in its folder.

    Raises:
        UserError: when the base model, the data, the checkpoint or the group of ranks can't be used.
        Preempted: it was asked to leave.
    """
    begin = time.monotonic()
    if choose_device(run.spec.device, usable_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES"))) == "cpu":
        set_variable("DS_ACCELERATOR", "cpu")
    rank, world_size = int(ENVIRONMENT["RANK"]), int(ENVIRONMENT["WORLD_SIZE"])
    precision = agree_on_precision(run, rank, world_size)
    accelerator = start_accelerator(run, rank, world_size, precision.dtype)
    folder = loading.fetch_base(run.spec.base)
    tokenizer = loading.load_tokenizer(folder)
    record = BaseRecord(
        base=run.spec.base, sha256=digest(folder, get_settings().models_folder), end_of_turn=chat_format(tokenizer).end_of_turn
    )
    progress = TrackedProgress(run, accelerator) if rank == 0 else None
    examples = read_examples(run, tokenizer, folder, int(ENVIRONMENT["LOCAL_RANK"]), progress)
    spec = run.spec
    steps = steps_of(len(examples), spec.num_train_epochs, spec.global_batch, spec.max_steps)
    batches = BatchPlan(examples.lengths, steps, spec.global_batch, spec.seed)
    _check_process_group(spec, world_size, accelerator, batches)
    method = METHODS[spec.method]
    model, optimizer = load_trainable(spec, method, folder, tokenizer, accelerator, precision.dtype)
    # What pads is masked: any token serves where the tokenizer names none.
    pad_id = next((number for number in (tokenizer.pad_token_id, tokenizer.eos_token_id) if number is not None), 0)
    trainer = Trainer(spec, method, accelerator, model, CompletionLoss(model.module), optimizer, examples, batches, pad_id, precision)
    check_packing(trainer)
    # DeepSpeed asks for its accelerator as soon as any part of it is imported.
    from workers.training.rank.zero.checkpointer import ZeroCheckpointer

    evaluation = Evaluation(run, trainer, tokenizer, progress)
    checkpointer = ZeroCheckpointer(run, trainer, evaluation, progress, begin)
    evaluation.check_shared()
    first, tokens = checkpointer.resume()
    if progress:
        progress.write(_start(trainer, first, evaluation.rows))
    made = _run_steps(trainer, checkpointer, evaluation, progress, first, tokens)
    if evaluation.restores:
        checkpointer.restore(evaluation.best_checkpoint)
    _finish(run, trainer, record, made, (evaluation, checkpointer, progress), first)
    accelerator.wait_for_everyone()


def _check_process_group(spec: TrainingSpec, started: int, accelerator: Any, batches: BatchPlan) -> None:
    check_group(
        asked=spec.world_size,
        started=started,
        joined=accelerator.num_processes,
        distributed_type=accelerator.distributed_type.value,
    )
    mine = visits_fingerprint(slices(spec, accelerator, batches[step])[0] for step in range(min(8, len(batches))))
    check_slices(accelerator.gather(torch.tensor([mine], device=accelerator.device)).tolist())


@dataclass
class StepsMade:
    """How far the steps got: the last one and its loss, tokens seen by all ranks, their rate, and the most memory that a rank used."""

    step: int
    tokens: int
    loss: float = float("nan")
    tokens_per_second: float = 0.0
    peak_memory_bytes: int = 0


def _run_steps(
    trainer: Trainer, checkpointer: Checkpointer, evaluation: Evaluation, progress: ProgressWriter | None, first: int, tokens: int
) -> StepsMade:
    """Make every step after `first`, or as many as the evaluations leave worth making."""
    spec, total = trainer.spec, len(trainer.batches)
    begin, made = time.monotonic(), StepsMade(first, tokens)
    checkpointer.handle(evaluation.make_up(first), first, tokens)
    for step in range(first, total):
        if evaluation.is_over:
            break
        torch.manual_seed(seed_of(spec.seed, trainer.accelerator.process_index, step))
        rate = learning_rate(step, total, spec.learning_rate, spec.warmup_ratio, spec.lr_scheduler_type)
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        batch = trainer.batches[step]
        share = make_step(trainer, batch)
        made.step = step + 1
        made.tokens += sum(int(trainer.examples.lengths[visit.index]) for visit in batch)
        made.loss, signal, made.peak_memory_bytes = _agree(trainer.accelerator, share, checkpointer.pending(step + 1))
        elapsed = time.monotonic() - begin
        made.tokens_per_second = (made.tokens - tokens) / (elapsed - evaluation.seconds)
        if progress and ((step + 1) % spec.logging_steps == 0 or step + 1 == total):
            event = Step(
                step=step + 1,
                loss=made.loss,
                tokens_per_second=made.tokens_per_second,
                eta_seconds=elapsed / (step + 1 - first) * (total - step - 1),
                learning_rate=rate,
                peak_memory_bytes=made.peak_memory_bytes,
            )
            progress.write(event)
        elif progress:
            progress.beat()
        checkpointer.handle(evaluation.after(step + 1, signal), step + 1, made.tokens)
    return made


def _agree(accelerator: Any, share: torch.Tensor, signal: Signal) -> tuple[float, Signal, int]:
    """Return the mean loss over all ranks, rank 0's signal, and the peak memory of the largest rank: one collective for the three."""
    mine = torch.tensor([[0.0, float(signal), peak_memory(share.device)]], dtype=torch.float64, device=share.device)
    mine[0, 0] = share
    losses, signals, memory = accelerator.gather(mine).T.tolist()
    return sum(losses), Signal(int(sum(signals))), int(max(memory))


def _finish(
    run: RunPayload,
    trainer: Trainer,
    record: BaseRecord,
    made: StepsMade,
    parts: tuple[Evaluation, Checkpointer, TrackedProgress | None],
    resumed_from: int,
) -> None:
    """Write what was trained, and the result of the run; ranks without progress give their parts of the weights."""
    # DeepSpeed asks for its accelerator as soon as any part of it is imported.
    from workers.training.rank.zero.state import gather_weights

    evaluation, checkpointer, progress = parts
    model, method, spec = trainer.model, trainer.method, run.spec
    gpus = accelerators(trainer.accelerator)
    weights = gather_weights(method.trainable(model.module), keep=progress is not None)
    if progress is None:
        deque(weights, maxlen=0)
        return
    sha256 = method.export(model.module, run.adapter_folder, record, weights)
    result = _result(run, trainer, made, sha256, checkpointer.seconds, resumed_from)
    best = evaluation.kept.step if evaluation.kept and spec.load_best_model_at_end else None
    about = {"base_sha256": record.sha256, "accelerators": gpus, "evaluation": evaluation.kept, "best_step": best}
    progress.write(Done())
    files.write_text(run.run_folder / RESULT_FILE, result.model_copy(update=about).model_dump_json(indent=2), sync=True)


def _start(trainer: Trainer, resumed_from: int, eval_rows: int) -> Start:
    accelerator = trainer.accelerator
    trainable, total = count_parameters(trainer.model.module)
    return Start(
        world_size=accelerator.num_processes,
        backend=torch.distributed.get_backend(),
        zero_stage=trainer.spec.zero_stage,
        device=accelerator.device.type,
        method=trainer.spec.method,
        trainable_parameters=trainable,
        total_parameters=total,
        eval_rows=eval_rows,
        total_steps=len(trainer.batches),
        dropped=trainer.examples.dropped,
        resumed_from=resumed_from,
        dtype=trainer.precision.dtype,
        dtype_reason=trainer.precision.reason,
    )


def _result(
    run: RunPayload,
    trainer: Trainer,
    made: StepsMade,
    digest: str,
    seconds: float,
    resumed_from: int,
) -> TrainingResult:
    trainable, total = count_parameters(trainer.model.module)
    return TrainingResult(
        adapter=run.adapter_folder,
        sha256=digest,
        method=run.spec.method,
        steps=made.step,
        final_loss=made.loss,
        tokens_per_second=made.tokens_per_second,
        peak_memory_bytes=made.peak_memory_bytes,
        trainable_parameters=trainable,
        total_parameters=total,
        stopped_early=made.step < len(trainer.batches),
        versions=versions(),
        world_size=trainer.accelerator.num_processes,
        backend=torch.distributed.get_backend(),
        zero_stage=run.spec.zero_stage,
        device=trainer.accelerator.device.type,
        seconds=seconds,
        tokens=made.tokens,
        examples=len(trainer.examples),
        dropped=trainer.examples.dropped,
        rejected=trainer.examples.rejected,
        dtype=trainer.precision.dtype,
        dtype_reason=trainer.precision.reason,
        resumed_from=resumed_from,
    )
