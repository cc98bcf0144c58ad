"""Writes a merged model as a GGUF file, tensor by tensor and with the same bytes each time."""

from __future__ import annotations

import json
import math
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.base_models import files, loading
from workers.base_models.chat_template import chat_format
from workers.exports.gguf.architectures import add_hyperparameters, architecture_of, context_length, rope_factors
from workers.exports.gguf.quantization import Quant, check_available, encode, file_type, ggml_type, row_bytes, type_of
from workers.exports.gguf.vocabulary import add_vocabulary, vocabulary_of
from workers.exports.gguf.weights import MergedWeights, Weight
from workers.files import sha256_of_file

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from numpy.typing import NDArray


_QUANTIZATION_VERSION = 2  # of the block formats; the first is of 2023


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file that was written.

    Attributes:
        path: of the file.
        bytes: its size.
        sha256: of it.
        architecture: as llama.cpp calls it.
        types: how many tensors there are of each.
        stop: what closes an answer, for engines that have to be told.
        context: for how many tokens llama.cpp computes what transformers does.
        notes: sentences on what llama.cpp does otherwise.
    """

    path: Path
    bytes: int
    sha256: str
    architecture: str
    types: Mapping[str, int]
    stop: str
    context: int
    notes: tuple[str, ...]


def write_gguf(merged: Path, destination: Path, quant: Quant, *, name: str = "", licence: str = "") -> GgufFile:
    """Write the model in the folder `merged` to the file `destination`, which appears whole or not at all.

    At most one tensor, as the file has it, lies in memory, and 4 MiB of its source. The same folder gives the same bytes.

    Args:
        merged: a folder as transformers saves one, in safetensors, with tokenizer and chat template; the template is written as it is.
        destination: of the file; one that is there is replaced.
        quant: of the weights.
        name: of the model, for those who look into the file.
        licence: an SPDX identifier.

    Raises:
        NotExportable: llama.cpp can't run this model, or would compute something else.
        UnusableBase: a file of the folder is missing or damaged.
        UnusableTemplate: the model has no chat template, or one that can't be used.
        OSError: the file can't be written.
    """
    from gguf import GGUFWriter

    check_available(quant)
    files.check(merged)
    config: dict[str, Any] = json.loads((merged / files.CONFIG).read_bytes())
    architecture = architecture_of(config)
    weights = MergedWeights(merged, config, architecture)
    tokenizer = loading.load_tokenizer(merged)
    form = chat_format(tokenizer)
    vocabulary = vocabulary_of(tokenizer, weights.weights[0].rows)
    aside = destination.with_name(f".tweetmill.{secrets.token_hex(6)}.part")
    writer = GGUFWriter(aside, architecture.name)
    try:
        writer.add_name(name or merged.name)
        if licence:
            writer.add_license(licence)
        writer.add_file_type(file_type(quant))
        writer.add_quantization_version(_QUANTIZATION_VERSION)
        add_hyperparameters(writer, config, architecture)
        add_vocabulary(writer, vocabulary, tokenizer, sorted(form.end_ids))
        writer.add_chat_template(str(tokenizer.get_chat_template()))
        types = _write_weights(writer, weights, quant, config)
        aside.replace(destination)
    finally:
        writer.close()
        aside.unlink(missing_ok=True)
    return GgufFile(
        path=destination,
        bytes=destination.stat().st_size,
        sha256=sha256_of_file(destination),
        architecture=architecture.name,
        types=types,
        stop=form.end_of_turn.strip(),
        context=context_length(config, architecture),
        notes=vocabulary.notes,
    )


def _write_weights(writer: GGUFWriter, weights: MergedWeights, quant: Quant, config: Mapping[str, Any]) -> dict[str, int]:
    """Write all that was added to `writer`, then each tensor; return how many there are of each type."""
    blocks = int(config["num_hidden_layers"])
    types = {weight.name: type_of(weight.name, weight.shape, quant, blocks, is_tied=weights.is_tied) for weight in weights.weights}
    factors = rope_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", (len(factors),), np.dtype(np.float32), 4 * len(factors))
    for weight in weights.weights:
        kind = types[weight.name]
        shape = (*weight.shape[:-1], row_bytes(kind, weight.shape[-1]))
        writer.add_tensor_info(weight.name, shape, np.dtype(np.uint8), math.prod(shape), ggml_type(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(np.array(factors, dtype="<f4"))
    for weight in weights.weights:
        writer.write_tensor_data(_encoded(weights, weight, types[weight.name]))
    writer.close()
    return dict(sorted(Counter(types.values()).items()))


def _encoded(weights: MergedWeights, weight: Weight, kind: str) -> NDArray[np.uint8]:
    out = np.empty((weight.rows, row_bytes(kind, weight.shape[-1])), dtype=np.uint8)
    begin = 0
    for rows in weights.chunks(weight):
        out[begin : begin + len(rows)] = encode(rows, kind)
        begin += len(rows)
    return out
