"""Computes the loss on completions inside the language-model head, so that no logits of prompts and padding are made. It loads torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import LinearCrossEntropyOptions
from torch.nn.functional import cross_entropy, linear, linear_cross_entropy

from workers.training.rank.examples.rows import Rows


class CompletionLoss:
    """The cross-entropy of a model, summed over the completion tokens of rows.

    While a loss is computed, the model's head gets a `forward` that returns it in place of logits: so whatever gathers the head's weights
    around its call, as ZeRO-3 does, still does. A model whose head is more than a linear layer, or that changes logits after it
    (soft-capping, scaling), is found out at the first call, and gets the loss from its logits.

    Args:
        model: as the method trains it, before DeepSpeed wraps it.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        head = getattr(model, "get_output_embeddings", lambda: None)()
        # A subclass, such as an adapter's or a quantised layer, computes something else.
        self._head: Any = head if type(head) is torch.nn.Linear else None
        self._is_trusted = False
        self._summed: torch.Tensor | None = None

    def __call__(self, engine: Any, rows: Rows) -> torch.Tensor:
        """Return the summed loss, shape ().

        Args:
            engine: the model, or what wraps it.
            rows: on the model's device.
        """
        # With a cache, transformers would not look for several examples in a row.
        inputs: dict[str, Any] = {"input_ids": rows.input_ids, "use_cache": False}
        if rows.position_ids is not None:
            inputs["position_ids"] = rows.position_ids
        if self._head is not None:
            with self._in_head(rows):
                output = engine(**inputs)
            if self._is_trusted or self._left_alone(output.logits):
                self._is_trusted = True
                loss: torch.Tensor = output.logits
                return loss
            self._head = None
        return _of_logits(engine, inputs, rows)

    @contextmanager
    def _in_head(self, rows: Rows) -> Iterator[None]:
        head = self._head

        def forward(hidden: torch.Tensor) -> torch.Tensor:
            chosen = hidden.flatten(0, -2).index_select(0, rows.predicting)
            self._summed = _summed(chosen, head.weight, head.bias, rows.targets)
            return self._summed

        before = head.__dict__.get("forward")
        head.forward = forward
        try:
            yield
        finally:
            if before is None:
                del head.forward
            else:
                head.forward = before

    def _left_alone(self, logits: Any) -> bool:
        """Whether the model gave on what its head returned. One comparison in a run: it waits for the device."""
        return (
            isinstance(logits, torch.Tensor)
            and self._summed is not None
            and logits.shape == self._summed.shape
            and torch.equal(logits.detach(), self._summed.detach())
        )


def _summed(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy of hidden states, in chunks of their logits where these are large."""
    rows, features = hidden.shape
    # As torch advises: below it, chunks are only slower.
    if rows >= features and weight.shape[0] > features:
        options = LinearCrossEntropyOptions()
        return linear_cross_entropy(hidden, weight, targets, linear_bias=bias, reduction="sum", options=options).float()
    return cross_entropy(linear(hidden, weight, bias).float(), targets, reduction="sum")


def _of_logits(engine: Any, inputs: dict[str, Any], rows: Rows) -> torch.Tensor:
    width = rows.input_ids.shape[1]
    columns = (rows.predicting % width).unique()
    logits = engine(**inputs, logits_to_keep=columns).logits
    at = torch.searchsorted(columns, rows.predicting % width)
    chosen = logits[rows.predicting // width, at]
    return cross_entropy(chosen.float(), rows.targets, reduction="sum")
