"""Makes one optimizer step: the loss on the completions of a global batch that is shared out among the ranks. It loads torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from schemas.training import TrainingSpec
from workers.base_models.precision import Precision
from workers.errors import UserError
from workers.training.rank.completion_loss import CompletionLoss
from workers.training.rank.examples.conversations import TokenizedExample
from workers.training.rank.examples.plan import BatchPlan, Visit, micro_batches
from workers.training.rank.examples.rows import lay_out
from workers.training.rank.examples.token_store import TokenizedExamples
from workers.training.rank.methods.method import Method


@dataclass(frozen=True)
class Trainer:
    """What the steps of a run need.

    Attributes:
        spec: of the training.
        method: that trains the model.
        accelerator: of Hugging Face, which knows the other ranks.
        model: the model in DeepSpeed's engine.
        loss: of the model.
        optimizer: of its trainable parameters.
        examples: all of the training file, on every rank.
        batches: the global batch of every step.
        pad_id: the token that fills rows; it is masked.
        precision: of the weights.
    """

    spec: TrainingSpec
    method: Method
    accelerator: Any
    model: Any
    loss: CompletionLoss
    optimizer: Any
    examples: TokenizedExamples
    batches: BatchPlan
    pad_id: int
    precision: Precision


def seed_of(seed: int, rank: int, step: int) -> int:
    """Return the seed of a step's dropout. It depends on the step alone, so that a resumed run draws what it would have drawn."""
    return random.Random(f"{seed}/{rank}/{step}").getrandbits(63)


def slices(spec: TrainingSpec, accelerator: Any, batch: Sequence[Visit]) -> list[list[Visit]]:
    """Return the part of a global batch that this rank sees, one list for each micro-batch."""
    return micro_batches(batch, accelerator.process_index, accelerator.num_processes, spec.gradient_accumulation_steps)


def make_step(trainer: Trainer, batch: list[Visit]) -> torch.Tensor:
    """Make one optimizer step; return this rank's share of the mean loss over the completion tokens of the global batch."""
    accelerator = trainer.accelerator
    targets = sum(int(trainer.examples.completion_lengths[visit.index]) for visit in batch)
    # DeepSpeed averages over ranks and micro-batches, which would weigh a rank with short completions too much.
    averaged_over = accelerator.num_processes * trainer.spec.gradient_accumulation_steps
    share = torch.zeros((), device=accelerator.device)
    for visits in slices(trainer.spec, accelerator, batch):
        with accelerator.accumulate(trainer.model):
            summed = summed_loss(trainer, [trainer.examples[visit.index] for visit in visits])
            accelerator.backward(summed * (averaged_over / targets))
            share += summed.detach() / targets
    return share


def summed_loss(trainer: Trainer, examples: Sequence[TokenizedExample]) -> torch.Tensor:
    """Return the cross-entropy summed over the completion tokens, shape ()."""
    row_length = trainer.spec.max_length if trainer.spec.packing else None
    return trainer.loss(trainer.model, lay_out(examples, trainer.pad_id, row_length).to(trainer.accelerator.device))


def check_packing(trainer: Trainer) -> None:
    """Compare the loss of two examples in one row with that of each in its own. All ranks call this, before the first step.

    Raises:
        UserError: they differ: in this model, examples in a row see each other.
    """
    two = trainer.examples[:2]
    if not trainer.spec.packing or len(two) < 2:
        return
    trainer.model.eval()  # no dropout
    with torch.no_grad():
        alone, packed = (
            float(trainer.loss(trainer.model, lay_out(two, trainer.pad_id, length).to(trainer.accelerator.device)))
            for length in (None, sum(map(len, two)))
        )
    trainer.model.train()
    tolerance = 1e-4 if trainer.precision.dtype == "float32" else 1e-2
    if abs(packed - alone) > tolerance * abs(alone):
        kind = trainer.model.module.config.model_type
        raise UserError(f"packing: in a base of the type {kind}, examples in a row see each other. Set packing=false")
