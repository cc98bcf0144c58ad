"""Lays the examples of a micro-batch out in rows of token ids: one a row, or several that do not see each other. It loads torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from workers.training.rank.examples.conversations import TokenizedExample


@dataclass(frozen=True)
class Rows:
    """The input of a model, and what it should predict.

    Rows are filled up on the right, where causal attention lets no example see it: so there is no attention mask.

    Attributes:
        input_ids: shape (rows, width).
        position_ids: of each token in its example, shape (rows, width). Where they don't go up by one, transformers' masks let nothing be
            seen of what lies before; None where each row holds one example.
        predicting: places of the flattened rows from which a completion token is predicted, shape (targets,).
        targets: those tokens, shape (targets,).
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor | None
    predicting: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> Rows:
        """Return the same on a device."""
        moved = [None if tensor is None else tensor.to(device, non_blocking=True) for tensor in vars(self).values()]
        return Rows(*moved)


def lay_out(examples: Sequence[TokenizedExample], pad_id: int, row_length: int | None = None) -> Rows:
    """Return the examples in rows.

    Args:
        examples: of one micro-batch.
        pad_id: the token that fills rows up.
        row_length: pack as many examples into each row as have no more tokens together; None: one a row.
    """
    groups = [[example] for example in examples] if row_length is None else first_fit(examples, row_length)
    width = max(sum(map(len, group)) for group in groups)
    ids = np.full((len(groups), width), pad_id, np.int64)
    positions = np.zeros((len(groups), width), np.int64)
    predicting: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for row, group in enumerate(groups):
        begin = 0
        for example in group:
            end = begin + len(example)
            ids[row, begin:end] = example.ids
            positions[row, begin:end] = np.arange(len(example))
            # The token before a completion predicts its first one; the last one predicts nothing.
            predicting.append(np.arange(end - example.completion_length, end) - 1 + row * width)
            targets.append(example.completion_ids)
            begin = end
    return Rows(
        input_ids=torch.from_numpy(ids),
        position_ids=None if row_length is None else torch.from_numpy(positions),
        predicting=torch.from_numpy(np.concatenate(predicting)),
        targets=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
    )


def first_fit(examples: Sequence[TokenizedExample], row_length: int) -> list[list[TokenizedExample]]:
    """Return the examples in groups of at most `row_length` tokens: the longest first, each into the first group that has room for it.

    First-fit decreasing takes at most 11/9 of the fewest groups possible, and 6/9 of one more (Dósa, 2007).
    """
    groups: list[list[TokenizedExample]] = []
    room: list[int] = []
    for example in sorted(examples, key=len, reverse=True):
        at = next((number for number, left in enumerate(room) if left >= len(example)), None)
        if at is None:
            groups.append([example])
            room.append(row_length - len(example))
        else:
            groups[at].append(example)
            room[at] -= len(example)
    return groups
