"""Evaluates the model during its training, on examples that were held back: their loss, and SARI of the summaries that it writes.

All ranks share the rows and make the same calls. Evaluation changes nothing of the training: it draws no random numbers, dropout is
off meanwhile, and the order of the examples was planned before. It loads torch.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from schemas.training import TrainingSpec
from workers.errors import UserError
from workers.training.protocol import checkpoints
from workers.training.protocol.manifest import EvaluationState, folder_name
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import Evaluated, ProgressWriter
from workers.training.rank.checkpointer import Signal
from workers.training.rank.evaluation.held_back import read_rows
from workers.training.rank.evaluation.writing import Writer
from workers.training.rank.step import Trainer, summed_loss

_EXITS = (Signal.EXIT, Signal.SAVE_AND_EXIT)


class Evaluation:
    """The evaluations of one run: when one is due, what it shows, which step was the best, and whether the run may end early.

    Args:
        run: the payload of the ranks.
        trainer: the run, with its model in DeepSpeed's engine.
        tokenizer: of the base model.
        progress: rank 0's; None on the other ranks.
    """

    def __init__(self, run: RunPayload, trainer: Trainer, tokenizer: Any, progress: ProgressWriter | None) -> None:
        self._run = run
        self._trainer = trainer
        self._progress = progress
        self._rows = read_rows(run.eval_file, tokenizer, run.spec.max_length) if run.eval_file else []
        rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
        self._mine = self._rows[rank::world]
        self._writer = Writer(trainer, tokenizer, self._mine, math.ceil(len(self._rows) / world), self._beat)
        self.state = EvaluationState()
        self.seconds = 0.0

    @property
    def rows(self) -> int:
        """How many examples are evaluated on."""
        return len(self._rows)

    @property
    def kept(self) -> Evaluated | None:
        """The evaluation of the weights that the run leaves behind, if they were evaluated: see `restores`."""
        return self.state.best if self.restores else self.state.last

    @property
    def restores(self) -> bool:
        """Whether the weights of an earlier step are to be kept: the best ones were asked for, and the last ones are not."""
        best, last = self.state.best, self.state.last
        return self._run.spec.load_best_model_at_end and best is not None and last is not None and best.step != last.step

    @property
    def best_checkpoint(self) -> Path:
        """The folder of the checkpoint of the best step."""
        return self._run.checkpoints / self.state.best_folder

    @property
    def is_over(self) -> bool:
        """Whether the run ends now: as many evaluations in a row as `early_stopping_patience` says were not better."""
        return 0 < self._run.spec.early_stopping_patience <= self.state.not_better

    def recall(self, state: EvaluationState | None) -> None:
        """Go on from what a checkpoint remembers. A best checkpoint that is damaged is forgotten: then the next evaluation is the best."""
        self.state = state or EvaluationState()
        if not self.state.best_folder:
            return
        try:
            checkpoints.verify(self.best_checkpoint)
            lacks = False
        except checkpoints.Unusable as error:
            sys.stderr.write(f"the best checkpoint so far, {self.state.best_folder}, is forgotten: {error}\n")
            lacks = True
        if any(self._gathered(lacks)):
            self.state = EvaluationState(last=self.state.last)

    def check_shared(self) -> None:
        """Make sure that every rank sees the checkpoints of rank 0, from which the best weights are read at the end.

        Raises:
            UserError: nodes have folders of their own.
        """
        if self._run.spec.nodes == 1 or not self._run.spec.load_best_model_at_end:
            return
        mark = self._run.checkpoints / ".shared"
        if self._progress:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(str(self._run.attempt))
        self._trainer.accelerator.wait_for_everyone()
        lacks = not mark.is_file() or mark.read_text() != str(self._run.attempt)
        if any(self._gathered(lacks)):
            raise UserError("load_best_model_at_end on several nodes: they need one folder of runs, which all of them see")

    def _gathered(self, flag: bool) -> list[bool]:
        """Return the flags of all ranks."""
        device = self._trainer.accelerator.device
        return [bool(each) for each in self._trainer.accelerator.gather(torch.tensor([int(flag)], device=device)).tolist()]

    def make_up(self, step: int) -> Signal:
        """Evaluate after `step`, from which the run is resumed, if that was due and the ranks left before it: see `after`."""
        was_made = self.state.last is not None and self.state.last.step == step
        return Signal.CONTINUE if was_made or not step else self.after(step, Signal.CONTINUE)

    def after(self, step: int, signal: Signal) -> Signal:
        """Evaluate if that is due after `step`; return `signal`, or SAVE in its place where the weights are the best so far and are kept.

        Ranks that are about to leave do so first: the evaluation is made up for when they resume.
        """
        spec, total = self._run.spec, len(self._trainer.batches)
        of_loss = _is_due(step, spec.eval_steps, total)
        of_summaries = _is_due(step, spec.eval_generate_steps, total)
        if not self._rows or signal in _EXITS or not (of_loss or of_summaries):
            return signal
        began = time.monotonic()
        with _aside(self._trainer):
            loss = self._loss() if of_loss else None
            sari, baselines = self._writer.sari() if of_summaries else (None, {})
        seconds = time.monotonic() - began
        self.seconds += seconds
        event = Evaluated(step=step, rows=self.rows, eval_loss=loss, eval_sari=sari, baselines=baselines, seconds=seconds)
        self.state = judged(self.state, event, spec, folder_name(step, self._run.attempt))
        if self._progress:
            self._progress.write(event)
        is_best = self.state.best is not None and self.state.best.step == step
        # The last weights need no checkpoint: they are exported as they are.
        return Signal.SAVE if is_best and spec.load_best_model_at_end and step < total else signal

    def _loss(self) -> float:
        """Return the mean cross-entropy over the completion tokens of all rows: one collective."""
        accelerator, size = self._trainer.accelerator, self._run.spec.per_device_train_batch_size
        batches = [self._mine[at : at + size] for at in range(0, len(self._mine), size)]
        total = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
        # Under ZeRO-3 each forward pass gathers weights from all ranks, so all make as many.
        for number in range(math.ceil(math.ceil(self.rows / accelerator.num_processes) / size)):
            rows = batches[number] if number < len(batches) else []
            summed = summed_loss(self._trainer, [row.example for row in rows or self._rows[:1]])
            if rows:
                total[0] += summed.double()
                total[1] += sum(len(row.example.completion_ids) for row in rows)
            self._beat()
        loss, tokens = accelerator.reduce(total, "sum").tolist()
        return float(loss / tokens)

    def _beat(self) -> None:
        if self._progress:
            self._progress.beat()


def judged(state: EvaluationState, event: Evaluated, spec: TrainingSpec, folder: str) -> EvaluationState:
    """Return the state after an evaluation, whose weights would be kept as the checkpoint `folder`."""
    value = getattr(event, spec.metric_for_best_model)
    if value is None:
        return state.model_copy(update={"last": event})
    before = None if state.best is None else getattr(state.best, spec.metric_for_best_model)
    lower_is_better = spec.metric_for_best_model == "eval_loss"
    is_better = math.isfinite(value) and (before is None or (value < before if lower_is_better else value > before))
    if not is_better:
        return state.model_copy(update={"last": event, "not_better": state.not_better + 1})
    return EvaluationState(last=event, best=event, best_folder=folder if spec.load_best_model_at_end else "")


def _is_due(step: int, every: int, total: int) -> bool:
    """Whether an evaluation that is made every so many steps is due after `step`; after the last one it always is."""
    return every > 0 and (step % every == 0 or step == total)


@contextmanager
def _aside(trainer: Trainer) -> Iterator[None]:
    """Evaluate in this block: without gradients and dropout; random numbers that are drawn in it are drawn again after it."""
    device = trainer.accelerator.device
    trainer.model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
            yield
    finally:
        trainer.model.train()
