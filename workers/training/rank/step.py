"""Makes one optimizer step: the loss on the completions of a global batch that is shared out among the ranks. It loads torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from schemas.training import TrainingSpec
from workers.base_models.precision import Precision
from workers.training.rank.data import TokenizedExample
from workers.training.rank.methods.method import Method
from workers.training.rank.plan import BatchPlan, Visit, micro_batches
from workers.training.rank.token_store import TokenizedExamples

IGNORED = -100


@dataclass(frozen=True)
class Trainer:
    """What the steps of a run need.

    Attributes:
        spec: of the training.
        method: that trains the model.
        accelerator: of Hugging Face, which knows the other ranks.
        model: the model in DeepSpeed's engine.
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
    """Return the cross-entropy summed over the completion tokens, shape ().

    Rows are padded on the left, so that all completions end in the last column and the language-model head, a quarter of the
    work of a small model, is computed for the longest completion only.
    """
    device = trainer.accelerator.device
    width = max(len(example) for example in examples)
    keep = max(example.completion_length for example in examples)
    ids = torch.full((len(examples), width), trainer.pad_id)
    mask = torch.zeros((len(examples), width), dtype=torch.long)
    labels = torch.full((len(examples), keep), IGNORED)
    for row, example in enumerate(examples):
        ids[row, width - len(example) :] = torch.tensor(example.ids)
        mask[row, width - len(example) :] = 1
        labels[row, keep - example.completion_length :] = torch.tensor(example.completion_ids)
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
