"""Compares the tensors of an exported folder with those of the model in memory, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from workers.base_models.files import tensor_entries, weight_files
from workers.base_models.tensor_reader import TensorFiles
from workers.errors import UserError
from workers.exports.roundtrip.reports import Tensors

_ALLOWED = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}
"""By the coarser of the types in which a tensor is stored and computed with: how much rounding may change it, relative to its norm.

bfloat16 has eight bits.
"""
_STEPS = 8
"""By how many steps of the coarser type a value must have been tuned before it tells a tuned tensor from the base's.

What is rounded a few times over, as a base, its change and their sum are, lies less than three off.
"""
_AT_A_TIME = 2**24  # values: what is compared is held in float32


def compare(model: Any, folder: Path, base: Path) -> Tensors:
    """Compare what an export holds with what the model has under the names by which transformers stores it.

    Raises:
        UserError: the folder has no weights, or damaged ones.
    """
    exported, originals = _exported(folder), TensorFiles(weight_files(base))
    parameters = _as_stored(model)
    shared = [name for name in parameters if name in exported.names]
    wrong: list[str] = []
    of_base: list[str] = []
    worst = 0.0
    for name in shared:
        mine, theirs = parameters[name], exported.read(name)
        kind = max((mine.dtype, theirs.dtype), key=lambda each: _ALLOWED.get(each, 0.0))
        allowed = _ALLOWED.get(kind, 0.0)
        apart = _apart(mine.float(), theirs.float())
        worst = max(worst, apart)
        bases = originals.read(name) if name in originals.names else None
        if apart <= allowed:
            # So far an adapter that was trained a little may move a whole layer.
            if bases is not None and _is_nearer_to(bases, mine, theirs, kind):
                wrong.append(name)
                of_base.append(name)
            continue
        wrong.append(name)
        if bases is not None and _apart(bases.float(), theirs.float()) <= allowed:
            of_base.append(name)
    # None shared: this family is stored under names that transformers does not tell beforehand.
    lacking = sorted(set(parameters) - set(shared)) if shared else []
    return Tensors(compared=len(shared), worst=worst, wrong=wrong, of_base=of_base, lacking=lacking)


def _as_stored(model: Any) -> dict[str, torch.Tensor]:
    """Return a model's parameters as `save_pretrained` would write them: transformers fuses experts in memory, and calls some otherwise."""
    from transformers.core_model_loading import revert_weight_conversion

    with torch.no_grad():
        found: dict[str, torch.Tensor] = revert_weight_conversion(model, {name: each.detach() for name, each in model.named_parameters()})
    return found


def _exported(folder: Path) -> TensorFiles:
    paths = weight_files(folder)
    for path in paths:
        tensor_entries(path)
    try:
        return TensorFiles(paths)
    except SafetensorError:
        named = ", ".join(path.name for path in paths)
        raise UserError(f"{named} is damaged: its header can't be read. Copy the folder again, or export it again") from None


def _apart(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    if mine.shape != theirs.shape:
        return float("inf")
    return float((mine - theirs).norm() / mine.norm().clamp(min=1e-12))


def _is_nearer_to(bases: torch.Tensor, mine: torch.Tensor, theirs: torch.Tensor, kind: torch.dtype) -> bool:
    """Whether an exported tensor is nearer to the base's than to the tuned one, by the values whose tuning rounding does not hide."""
    if bases.shape != mine.shape or not kind.is_floating_point:
        return False
    limits = torch.finfo(kind)
    from_base = from_tuned = 0.0
    for parts in zip(*(tensor.flatten().split(_AT_A_TIME) for tensor in (bases, mine, theirs)), strict=True):
        base, tuned, exported = (part.float() for part in parts)
        step = limits.eps * torch.maximum(base.abs(), tuned.abs()).clamp(min=limits.tiny)
        told = (tuned - base).abs() > _STEPS * step
        from_base += float((exported - base)[told].square().sum())
        from_tuned += float((exported - tuned)[told].square().sum())
    return from_base < from_tuned
