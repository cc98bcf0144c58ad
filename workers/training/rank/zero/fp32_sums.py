"""Sums gradients over micro-batches in fp32 where DeepSpeed sums them in the 16 bits of the weights: at ZeRO 0. It loads torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch


def sum_in_fp32(parameters: Iterable[torch.nn.Parameter], is_last: Callable[[], bool]) -> None:
    """Keep the sum of each parameter's gradients in fp32 until the last micro-batch of a step, after which `.grad` is the rounded sum.

    In bfloat16, which has 8 bits of precision, a gradient that is 1/256 of the sum so far would be lost.

    Args:
        parameters: that are trained.
        is_last: whether the backward pass under way is that of a step's last micro-batch.
    """
    sums: dict[torch.nn.Parameter, torch.Tensor] = {}

    def take(parameter: torch.nn.Parameter) -> None:
        gradient = parameter.grad
        assert gradient is not None
        total = sums.pop(parameter, None)
        total = gradient.float() if total is None else total.add_(gradient)
        if is_last():
            gradient.copy_(total)
        else:
            sums[parameter] = total
            parameter.grad = None

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(take)
