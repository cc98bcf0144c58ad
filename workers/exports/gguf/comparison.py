"""Reads a GGUF file back and compares each of its tensors with the merged model that it was made of."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workers.base_models import files, loading
from workers.errors import UserError
from workers.exports.gguf.architectures import architecture_of, rope_factors
from workers.exports.gguf.quantization import WRITTEN, decode, encode, excess
from workers.exports.gguf.weights import MergedWeights, Weight

_MORE = 1.05
"""By how much the squared errors of a tensor may exceed those of one that is written anew: another version may round otherwise."""


class NotTheSame(UserError):
    """The export is another model than the one that was exported."""


@dataclass(frozen=True)
class TensorCheck:
    """What a comparison of all tensors found.

    Attributes:
        tensors: how many were compared.
        nearest: to what its type allows came the worst of them: 1 is just within it.
        worst: its name in GGUF.
        context: tokens that llama.cpp gives it at most.
    """

    tensors: int
    nearest: float
    worst: str
    context: int


def compare_with_source(gguf: Path, merged: Path) -> TensorCheck:
    """Compare each tensor of a GGUF file with that of the merged model.

    A value may be off by what the tensor's type allows. A layer that lacks its adapter is often nearer than that, so the whole tensor's
    errors may be no larger than those of the tensor written anew, which are the same to the bit where the version is the same.

    Args:
        gguf: the file.
        merged: the folder that it was written from.

    Raises:
        NotTheSame: the file is damaged, or a tensor is missing, has another shape, type, or other values; says which.
        NotExportable: the merged model is none that could have been written.
    """
    config: dict[str, Any] = json.loads((merged / files.CONFIG).read_bytes())
    weights = MergedWeights(merged, config, architecture_of(config))
    reader = _reader(gguf)
    held = {tensor.name: tensor for tensor in reader.tensors}
    named = {weight.name: weight for weight in weights.weights}
    computed = {"rope_freqs.weight"} if rope_factors(config) is not None else set()
    for name in sorted(named.keys() - held.keys()):
        raise NotTheSame(f"{gguf.name} lacks {name}, which is {named[name].source} of the merged model: export it again")
    for name in sorted(held.keys() - named.keys() - computed):
        raise NotTheSame(f"{gguf.name} has a tensor {name[:100]} that the merged model has not: export it again")
    found = TensorCheck(len(named), 0.0, "", _context_of(reader))
    for weight in weights.weights:
        off = _excess(weights, weight, held[weight.name], gguf.name)
        if off > found.nearest or not found.worst:
            found = replace(found, nearest=off, worst=weight.name)
    return found


def _reader(gguf: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(gguf)
    except Exception as error:  # it looks at nothing beforehand: a damaged file fails wherever it is first wrong
        if loading.is_of_machine(error):
            raise
        raise NotTheSame(
            f"{gguf.name} is no GGUF file, cut short or damaged ({gguf.stat().st_size} bytes): copy it again (where Git LFS keeps it,"
            " by `git lfs pull`), or export it again"
        ) from error


def _context_of(reader: Any) -> int:
    """Return the context that a file states; 0 where it states none, which llama.cpp does not load."""
    return next((int(field.contents()) for name, field in reader.fields.items() if name.endswith(".context_length")), 0)


def _excess(weights: MergedWeights, weight: Weight, tensor: Any, gguf: str) -> float:
    """How far a tensor is off, in parts of what its type allows; and it must be as near as if it were written anew."""
    shape = tuple(int(size) for size in reversed(tensor.shape))
    if shape != weight.shape:
        raise NotTheSame(
            f"{weight.name} of {gguf} has the shape {shape}, and {weight.source} of the merged model {weight.shape}: export it again"
        )
    kind = tensor.tensor_type.name
    if kind not in WRITTEN:
        raise NotTheSame(
            f"{weight.name} of {gguf} is of the type {kind}, which no export has: another program quantised it anew. Export it again with"
            " the --quant that you want"
        )
    encoded = np.atleast_2d(tensor.data).view(np.uint8)
    begin, worst, errors = 0, 0.0, np.zeros(2)
    for rows in weights.chunks(weight):
        held = np.ascontiguousarray(encoded[begin : begin + len(rows)])
        begin += len(rows)
        read, anew = decode(held, kind), encode(rows, kind)
        worst = max(worst, excess(rows, read, kind))
        if not np.array_equal(held, anew):
            errors += np.square(read - rows).sum(dtype=np.float64), np.square(decode(anew, kind) - rows).sum(dtype=np.float64)
    if not worst <= 1 or errors[0] > errors[1] * _MORE:
        raise NotTheSame(
            f"{weight.name} of {gguf} is not {weight.source} of the merged model: it is off by more than {kind} explains. Export it again"
        )
    return worst
