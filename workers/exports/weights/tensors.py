"""Compares the tensors of an exported folder with those of the model in memory, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from workers.base_models.files import tensor_entries, weight_files
from workers.base_models.tensor_reader import TensorFiles
from workers.exports.roundtrip.reports import Tensors

_ALLOWED = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}
"""By the coarser of the types in which a tensor is stored and computed with: how much rounding may change it, relative to its norm.

bfloat16 has eight bits.
"""


def compare(model: Any, folder: Path, base: Path) -> Tensors:
    """Compare what an export holds with what the model has under the same names.

    Where transformers stores tensors under other names than it has them in memory, they are not compared.

    Raises:
        UnusableBase: the folder has no weights, or damaged ones.
    """
    paths = weight_files(folder)
    for path in paths:
        tensor_entries(path)
    exported, originals = TensorFiles(paths), TensorFiles(weight_files(base))
    parameters = dict(model.named_parameters())
    shared = [name for name in parameters if name in exported.names]
    wrong: list[str] = []
    of_base: list[str] = []
    worst = 0.0
    for name in shared:
        mine, theirs = parameters[name].detach(), exported.read(name)
        allowed = max(_ALLOWED.get(kind, 0.0) for kind in (mine.dtype, theirs.dtype))
        apart = _apart(mine.float(), theirs.float())
        worst = max(worst, apart)
        if apart <= allowed:
            continue
        wrong.append(name)
        if name in originals.names and _apart(originals.read(name).float(), theirs.float()) <= allowed:
            of_base.append(name)
    # None shared: this family is stored under other names.
    lacking = sorted(set(parameters) - set(shared)) if shared else []
    return Tensors(compared=len(shared), worst=worst, wrong=wrong, of_base=of_base, lacking=lacking)


def _apart(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    if mine.shape != theirs.shape:
        return float("inf")
    return float((mine - theirs).norm() / mine.norm().clamp(min=1e-12))
