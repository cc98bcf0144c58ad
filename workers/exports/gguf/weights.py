"""Reads the weights of a merged model as llama.cpp wants them: by its names, in its order of rows, some at a time.

The files are mapped, so that no tensor lies in memory whole but where it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.base_models.files import weight_files
from workers.base_models.tensor_reader import TensorFiles
from workers.exports.gguf.architectures import Architecture, NotExportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 1 << 20
"""Weights that are read at a time: 4 MiB of float32."""
_LAYER = re.compile(r"\.layers\.(\d+)\.")
_ENDINGS = (".weight", ".bias")


@dataclass(frozen=True)
class Weight:
    """A tensor of the merged model.

    Attributes:
        name: in GGUF.
        source: its name in the merged model.
        shape: in both.
        heads: of queries or keys whose rows are interleaved; 0 for others.
        offset: added to each value.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    heads: int = 0
    offset: float = 0.0

    @property
    def rows(self) -> int:
        """How many rows it has; a vector is one."""
        return self.shape[0] if len(self.shape) > 1 else 1


class MergedWeights:
    """The weights of a merged model.

    Args:
        folder: of the model, whose files were checked.
        config: of the model.
        architecture: see `architecture_of`.

    Attributes:
        weights: all of them, in the order of the layers.
        is_tied: the embeddings are the output's weights too.

    Raises:
        NotExportable: a tensor is missing, or is one that llama.cpp has no place for.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], architecture: Architecture) -> None:
        self._files = TensorFiles(weight_files(folder))
        self._config, self._architecture = config, architecture
        self.is_tied = bool(config.get("tie_word_embeddings", architecture.norm_offset > 0))
        self.weights = self._named(folder.name)

    def chunks(self, weight: Weight) -> Iterator[NDArray[np.float32]]:
        """Yield the rows of a tensor as GGUF has them, some at a time."""
        tensor = self._files.read(weight.source)
        if tensor.dim() == 1:
            tensor = tensor.view(1, -1) if not weight.heads else tensor.view(-1, 1)
        order = self._order(weight)
        step = max(1, _AT_ONCE // tensor.shape[1])
        if weight.heads and tensor.shape[1] == 1:
            yield tensor[order].float().numpy().reshape(1, -1)
            return
        for begin in range(0, tensor.shape[0], step):
            rows = tensor[begin : begin + step] if order is None else tensor[order[begin : begin + step]]
            read = rows.float().numpy()
            yield read + np.float32(weight.offset) if weight.offset else read

    def _order(self, weight: Weight) -> NDArray[np.int64] | None:
        """From which row of the model each of GGUF's is: the halves of a head, interleaved."""
        if not weight.heads:
            return None
        count = weight.shape[0]
        return np.arange(count).reshape(weight.heads, 2, count // weight.heads // 2).swapaxes(1, 2).reshape(-1)

    def _named(self, model: str) -> tuple[Weight, ...]:
        from gguf import MODEL_ARCH, get_tensor_name_map

        blocks = int(self._config["num_hidden_layers"])
        known = get_tensor_name_map(MODEL_ARCH[self._architecture.name.upper()], blocks)
        found: dict[str, Weight] = {}
        for source in sorted(self._files.names, key=_place):
            if source.endswith("rotary_emb.inv_freq") or (self.is_tied and source == "lm_head.weight"):
                continue  # computed anew; the embeddings once more
            name = known.get_name(source, try_suffixes=_ENDINGS)
            if name is None:
                raise NotExportable(
                    f"llama.cpp has no place for the tensor {source[:100]} of {model} in a {self._architecture.name}: export it merged"
                )
            found[name] = Weight(name, source, self._files.shape(source), self._heads(source), self._offset(source))
        _check_whole(found, blocks, self.is_tied, model)
        return tuple(found.values())

    def _heads(self, source: str) -> int:
        if not self._architecture.interleaves:
            return 0
        queries = int(self._config["num_attention_heads"])
        if ".q_proj." in source:
            return queries
        return int(self._config.get("num_key_value_heads") or queries) if ".k_proj." in source else 0

    def _offset(self, source: str) -> float:
        return self._architecture.norm_offset if source.endswith("norm.weight") else 0.0


def _place(source: str) -> tuple[int, str]:
    """The embeddings first, then the layers by their number, then what follows them."""
    layer = _LAYER.search(source)
    if layer is not None:
        return int(layer[1]), source
    return (-1 if "embed_tokens" in source else 1 << 30), source


def _check_whole(found: Mapping[str, Weight], blocks: int, is_tied: bool, model: str) -> None:
    """Refuse a model of which a part is missing: a shard that was not copied, or a layer that is not in it."""
    expected = {"token_embd.weight", "output_norm.weight"} | (set() if is_tied else {"output.weight"})
    kinds = {name.split(".", 2)[2] for name in found if name.startswith("blk.")}
    expected |= {f"blk.{block}.{kind}" for block in range(blocks) for kind in kinds}
    missing = sorted(expected - found.keys())
    if missing or not kinds:
        raise NotExportable(f"the merged model {model} lacks {missing[0] if missing else 'all layers'}, as GGUF calls it: merge it again")
    beyond = sorted(found.keys() - expected)
    if beyond:
        raise NotExportable(f"the merged model {model} has {beyond[0]}, beyond the {blocks} layers of its config: merge it again")
