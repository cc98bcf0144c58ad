"""A safetensors file is written one tensor at a time, is what safetensors reads, and is never of a part of a tensor."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from workers.base_models.precision import Dtype
from workers.base_models.tensor_writer import write_tensors

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(3.5), "c.bias": torch.linspace(-1, 1, 5)}
SHAPES = {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_is_written_is_what_safetensors_reads(dtype: Dtype, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    with file.open("wb") as out:
        write_tensors(out, dtype, SHAPES, TENSORS.items())

    read = load_file(file)
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert read[name].dtype == getattr(torch, dtype)
        assert torch.equal(read[name], tensor.to(read[name].dtype))


def test_one_tensor_is_written_before_the_next_is_there() -> None:
    out, written = io.BytesIO(), []

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in TENSORS.items():
            written.append(out.tell())
            yield name, tensor

    write_tensors(out, "float32", SHAPES, tensors())

    assert [after - before for before, after in zip(written, [*written[1:], out.tell()], strict=True)] == [24, 4, 20]
    assert load(out.getvalue()).keys() == TENSORS.keys()


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"a": torch.zeros(0)}, r"a has shape \(0,\) where a with shape \(2,\) should be written"),
        ({"a": torch.zeros(1)}, r"a has shape \(1,\)"),
        ({"b": torch.zeros(3)}, "b has shape .* where a with shape"),
        ({"a": torch.zeros(2)}, "b was not written"),
        ({"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1)}, "c has shape .* where nothing more"),
    ],
)
def test_a_part_of_a_model_is_refused(tensors: dict[str, torch.Tensor], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        write_tensors(io.BytesIO(), "float32", {"a": (2,), "b": (3,)}, tensors.items())


def test_an_empty_tensor_is_refused_even_where_one_was_announced() -> None:
    with pytest.raises(ValueError, match="a has shape"):
        write_tensors(io.BytesIO(), "float32", {"a": (0,)}, [("a", torch.zeros(0))])
