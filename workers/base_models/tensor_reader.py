"""Reads single tensors out of safetensors files by name. The files are memory-mapped: what is not asked for is never read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

if TYPE_CHECKING:
    import torch


class TensorFiles:
    """The tensors of several safetensors files, by name. The files stay open: one that is replaced later is read as it was.

    Args:
        paths: of the files, whose headers were checked.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._places: dict[str, Any] = {}
        for path in paths:
            file: Any = safe_open(path, framework="pt", device="cpu")
            self._places.update(dict.fromkeys(file.keys(), file))

    @property
    def names(self) -> Collection[str]:
        """The names of all tensors."""
        return self._places.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, without reading it."""
        return tuple(self._places[name].get_slice(name).get_shape())

    def read(self, name: str) -> torch.Tensor:
        """Return a tensor on the CPU, in the type in which it is stored. It must not be written to: it is the mapped file."""
        tensor: torch.Tensor = self._places[name].get_tensor(name)
        return tensor
