"""Turns rows of weights into the bytes of a GGUF type, says which tensor gets which, and how far a value may be off afterwards.

f16, q8_0, q4_0 and q5_0 are of the package gguf, which llama.cpp's authors write: q8_0, q4_0 and q5_0 give the bytes of its C code. The
K-quants of q4_k_m come from libgguf; see docs/adr/0015-gguf.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from workers.exports.gguf.architectures import NotExportable

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType
    from numpy.typing import NDArray

Quant = Literal["f16", "q8_0", "q4_0", "q4_k_m"]
QUANTS: tuple[Quant, ...] = ("f16", "q8_0", "q4_0", "q4_k_m")
_FILE_TYPES: Mapping[Quant, str] = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0", "q4_k_m": "MOSTLY_Q4_K_M"}

_BLOCK, _SUPER_BLOCK = 32, 256  # values that share a scale
_K_QUANTS = ("Q4_K", "Q6_K")
# Rows whose length is no multiple of a super-block get the type of about the same size that is made of small blocks, as in llama.cpp.
_SMALL: Mapping[str, str] = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}
_STEPS: Mapping[str, float] = {"F16": 0.0, "Q8_0": 0.5, "Q5_0": 1.0, "Q4_0": 1.0}
"""How far off a value may be, in steps of its block; one whole step where the end of the scale is cut off."""
_LEVELS: Mapping[str, int] = {"Q8_0": 127, "Q5_0": 16, "Q4_0": 8}
K_ERRORS: Mapping[str, float] = {"Q4_K": 0.3, "Q6_K": 0.08}
"""How large the root mean square of the errors of a row of a K-quant may be, as a part of that of the row's values: where one value is far
larger than all others. Of even rows it is a quarter of that."""
WRITTEN = ("F32", *_STEPS, *K_ERRORS)
"""All types that a file may hold."""
_HALF, _TINY = 2.0**-11, 2.0**-24  # of float16: relative, and the smallest value


def file_type(quant: Quant) -> int:
    """Return the number by which a GGUF file says what it mostly holds."""
    from gguf import LlamaFileType

    return int(LlamaFileType[_FILE_TYPES[quant]])


def check_available(quant: Quant) -> None:
    """Make sure that this can be written here.

    Raises:
        NotExportable: the package that knows K-quants is not installed.
    """
    if quant == "q4_k_m":
        _libgguf()


def type_of(name: str, shape: tuple[int, ...], quant: Quant, blocks: int, *, is_tied: bool) -> str:
    """Return the type of a tensor: vectors stay float32, and what reads or writes the vocabulary is kept finer, as llama.cpp does.

    Args:
        name: in GGUF.
        shape: rows last but one, a row's length last.
        quant: of the file.
        blocks: layers of the model.
        is_tied: the embeddings are the output's weights too.
    """
    if len(shape) < 2:
        return "F32"
    if quant == "f16":
        return "F16"
    writes_vocabulary = name == "output.weight" or (is_tied and name == "token_embd.weight")
    if quant == "q4_k_m":
        fine = writes_vocabulary or (name.endswith((".attn_v.weight", ".ffn_down.weight")) and _is_fine(int(name.split(".")[1]), blocks))
        wanted = "Q6_K" if fine else "Q4_K"
    else:
        wanted = "Q8_0" if quant == "q8_0" or writes_vocabulary else "Q4_0"
    if shape[-1] % _SUPER_BLOCK:
        wanted = _SMALL.get(wanted, wanted)
    return "F16" if shape[-1] % _BLOCK else wanted


def encode(rows: NDArray[np.float32], kind: str) -> NDArray[np.uint8]:
    """Return rows of weights as bytes of the type `kind`, a row of bytes each.

    Raises:
        NotExportable: a value is no number, or too large for float16, in which the scales are kept too.
    """
    if not np.isfinite(rows).all():
        raise NotExportable("weights are not numbers: the training went wrong. Train again with a smaller learning_rate")
    if kind == "F32":
        return rows.astype("<f4").view(np.uint8)
    if kind == "F16":
        with np.errstate(over="ignore"):
            halves = rows.astype("<f2")
        if not np.isfinite(halves).all():
            raise NotExportable(f"weights of up to {np.abs(rows).max():.3g} are too large for f16: take q8_0")
        return halves.view(np.uint8)
    if kind in _K_QUANTS:
        libgguf = _libgguf()
        encoded = libgguf.quantize_rows(np.ascontiguousarray(rows), getattr(libgguf.GGMLQuantizationType, kind))  # type: ignore[attr-defined]
        return np.asarray(encoded, dtype=np.uint8).reshape(len(rows), -1)
    from gguf import quants

    found: NDArray[np.uint8] = quants.quantize(rows, ggml_type(kind))
    return found


def decode(encoded: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """Return the weights that rows of bytes stand for, by the code of llama.cpp's authors."""
    if kind == "F32":
        return encoded.view("<f4").astype(np.float32)
    if kind == "F16":
        return encoded.view("<f2").astype(np.float32)
    from gguf import quants

    found: NDArray[np.float32] = quants.dequantize(encoded, ggml_type(kind))
    return found


def excess(values: NDArray[np.float32], read: NDArray[np.float32], kind: str) -> float:
    """Return how far `read` is off `values`, rows of both, in parts of what the type allows: up to 1 is as it must be."""
    if kind == "F32":
        return 0.0 if np.array_equal(values, read) else float("inf")
    off = np.abs(values - read)
    if kind in K_ERRORS:
        allowed = K_ERRORS[kind] * _root_mean_square(values) + _TINY
        return float((_root_mean_square(off) / allowed).max())
    largest = np.abs(values)
    levels = _LEVELS.get(kind, 1)
    if kind in _LEVELS:
        off, largest = (part.reshape(-1, _BLOCK).max(axis=-1) for part in (off, largest))
    # The step is itself kept as float16.
    allowed = largest * (_STEPS[kind] / levels * (1 + _HALF) + _HALF) + _TINY * levels
    return float((off / allowed).max())


def _root_mean_square(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", rows, rows) / rows.shape[-1])
    return found


def ggml_type(kind: str) -> GGMLQuantizationType:
    """Return the package's own name for a type."""
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[kind]


def row_bytes(kind: str, length: int) -> int:
    """Return how many bytes a row of `length` weights takes."""
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[ggml_type(kind)]
    return length // int(block) * int(size)


def _is_fine(layer: int, layers: int) -> bool:
    """Whether llama.cpp gives a layer more bits in q4_k_m: the first eighth, the last eighth, and each third between them."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _libgguf() -> object:
    try:
        import libgguf
    except ImportError:
        raise NotExportable(
            "q4_k_m needs the package libgguf: `pip install 'tweetmill[llamacpp]'` where the worker runs, or take q4_0 or q8_0"
        ) from None
    return libgguf
