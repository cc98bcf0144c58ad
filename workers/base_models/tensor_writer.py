"""Writes a safetensors file one tensor at a time, so that a model never lies in memory whole. torch is imported by whoever has tensors.

The form: eight bytes with the length of a JSON header, the header with each tensor's type, shape and place, then the tensors. See
https://huggingface.co/docs/safetensors, whose own writer wants all tensors at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from workers.base_models.precision import Dtype

TensorType = Literal["F32", "BF16", "F16"]
Shapes = Mapping[str, tuple[int, ...]]
_BYTES: Mapping[TensorType, int] = {"F32": 4, "BF16": 2, "F16": 2}
TYPE_NAMES: Mapping[Dtype, TensorType] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""How safetensors calls torch's types."""


class Out(Protocol):
    """Where bytes go."""

    def write(self, content: bytes | memoryview, /) -> object:
        """Append them."""


def write_tensors(out: Out, dtype: Dtype, shapes: Shapes, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Write a safetensors file to `out`.

    Args:
        out: the file, at its beginning.
        dtype: of all tensors; each is cast to it.
        shapes: of the tensors, by name and in the order in which they will come.
        tensors: by name, whole. It is read to its end.

    Raises:
        ValueError: a tensor is empty, has another shape than was said, or comes out of order: a part of a sharded model, perhaps.
        OSError: it can't be written.
    """
    import torch

    out.write(_header(TYPE_NAMES[dtype], shapes))
    missing = iter(shapes.items())
    for name, tensor in tensors:
        expected = next(missing, ("nothing more", ()))
        if (name, tuple(tensor.shape)) != expected or tensor.numel() == 0:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)} where {expected[0]} with shape {expected[1]} should be written")
        content = tensor.detach().to("cpu", getattr(torch, dtype)).contiguous().view(-1).view(torch.uint8)
        out.write(memoryview(content.numpy()))
    lacking = next(missing, None)
    if lacking is not None:
        raise ValueError(f"{lacking[0]} was not written: the tensors ended before it")


def _header(kind: TensorType, shapes: Shapes) -> bytes:
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + _BYTES[kind] * math.prod(shape)
        described[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(described, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors begin at a multiple of eight
    return len(header).to_bytes(8, "little") + header
