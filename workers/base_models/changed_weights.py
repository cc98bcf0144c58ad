"""Stores a fine-tuned model as the tensors that training changed, in safetensors, and puts them on the base again.

The folder holds `changed_weights.safetensors` (above 5 GB in shards, with an index as on the Hugging Face hub), `changed_weights.json`, and
`base.json`, which identifies the base. Tensors have the names of the model's state dict; tied ones are stored once. A model with new layers
has them under their places in the deeper model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from workers import files
from workers.base_models.decoder import decoder_layers
from workers.base_models.files import BaseRecord, UnusableAdapter, UnusableBase, tensor_entries, weight_files

if TYPE_CHECKING:
    import torch

    from workers.base_models.tensor_reader import TensorFiles

WEIGHTS = "changed_weights.safetensors"
INDEX = "changed_weights.safetensors.index.json"
DESCRIPTION = "changed_weights.json"
SHARD_BYTES = 5_000_000_000


class Description(BaseModel):
    """What the tensors are.

    Attributes:
        method: that trained them, as in a recipe.
        tensors: how many there are, in all shards.
        new_layers: places of layers that the base does not have, in the deeper model, ascending and counted from 0.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    tensors: int
    new_layers: tuple[int, ...] = ()


@dataclass(frozen=True)
class ChangedWeights:
    """The tensors of a folder, which are read one by one, and what they are."""

    folder: Path
    description: Description
    tensors: TensorFiles


def write(
    folder: Path,
    weights: Iterable[tuple[str, torch.Tensor]],
    base: BaseRecord,
    *,
    method: str,
    new_layers: tuple[int, ...] = (),
    shard_bytes: int = SHARD_BYTES,
) -> str:
    """Write tensors to a folder, which is complete or absent.

    Args:
        folder: replaced when it is there.
        weights: whole tensors by their names in the state dict. They are in memory until their shard is written.
        base: what they were trained on.
        method: that trained them.
        new_layers: see `Description`.
        shard_bytes: of one file at most, unless one tensor is larger.

    Returns:
        The SHA-256 of the weights: of the file, or of the list of the shards' names and digests.
    """
    from safetensors.torch import save_file

    with files.atomic_folder(folder, folder.with_name(f".{folder.name}.partial"), replace=True) as aside:
        aside.mkdir()
        held: list[list[str]] = []
        for tensors in _shards(weights, shard_bytes):
            held.append(list(tensors))
            save_file(tensors, aside / _shard_name(len(held), 0))
        # How many there are is part of their names.
        shards = [(aside / _shard_name(number, 0)).rename(aside / _shard_name(number, len(held))) for number in range(1, len(held) + 1)]
        if len(shards) > 1:
            size = sum(path.stat().st_size for path in shards)
            places = {name: path.name for path, names in zip(shards, held, strict=True) for name in names}
            index = {"metadata": {"total_size": size}, "weight_map": places}
            (aside / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        description = Description(method=method, tensors=sum(map(len, held)), new_layers=new_layers)
        (aside / DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
        base.write(aside)
        return _digest(shards)


def _shards(weights: Iterable[tuple[str, torch.Tensor]], shard_bytes: int) -> Iterator[dict[str, torch.Tensor]]:
    shard: dict[str, torch.Tensor] = {}
    size = 0
    for name, tensor in weights:
        if shard and size + tensor.nbytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor.detach().to("cpu").contiguous()
        size += tensor.nbytes
    yield shard


def _shard_name(number: int, count: int) -> str:
    return WEIGHTS if count == 1 else f"changed_weights-{number:05}-of-{count:05}.safetensors"


def _digest(paths: Sequence[Path]) -> str:
    digests = [(path.name, files.sha256_of_file(path)) for path in paths]
    return digests[0][1] if len(digests) == 1 else files.sha256(json.dumps(digests))


def is_in(folder: Path) -> bool:
    """Return whether a folder holds a model in this form."""
    return (folder / DESCRIPTION).is_file()


def read(folder: Path) -> ChangedWeights:
    """Read what a folder holds; its tensors are read later.

    Raises:
        UnusableAdapter: a file is missing or damaged.
    """
    from workers.base_models.tensor_reader import TensorFiles

    try:
        description = Description.model_validate_json((folder / DESCRIPTION).read_bytes())
        paths = weight_files(folder, WEIGHTS, INDEX)
        for path in paths:
            tensor_entries(path)
    except (OSError, ValidationError):
        raise UnusableAdapter(f"{folder / DESCRIPTION} can't be read: it says what the tensors are. Train the model again") from None
    except UnusableBase as error:
        raise UnusableAdapter(f"the model {folder.name} is damaged: {error}") from error
    tensors = TensorFiles(paths)
    if len(tensors.names) != description.tensors:
        raise UnusableAdapter(
            f"the model {folder.name} is damaged: it holds {len(tensors.names)} tensors, and {DESCRIPTION} says {description.tensors}."
            " Train it again"
        )
    return ChangedWeights(folder, description, tensors)


def check_fits(changed: ChangedWeights, model: Any) -> None:
    """Make sure that each tensor has its place in a model, whose new layers are inserted, and that new layers are stored whole.

    Raises:
        UnusableAdapter: it does not fit.
    """
    parameters = dict(model.named_parameters())
    for name in changed.tensors.names:
        if name not in parameters:
            raise UnusableAdapter(f"the base has no tensor {name[:100]}")
        mine, here = changed.tensors.shape(name), tuple(parameters[name].shape)
        if mine != here:
            raise UnusableAdapter(f"the tensor {name[:100]} has the shape {mine}, and in the base {here}")
    if not changed.description.new_layers:
        return
    layers = decoder_layers(model)
    new = {id(parameter) for place in changed.description.new_layers for parameter in layers[place].parameters()}
    asked = {name for name, parameter in parameters.items() if id(parameter) in new}
    if asked != set(changed.tensors.names):
        raise UnusableAdapter("its tensors are not those of its new layers")


def copy_into(changed: ChangedWeights, model: Any) -> None:
    """Overwrite the tensors of a model that `check_fits` took, one by one, in the model's own type and on its device."""
    import torch

    with torch.no_grad():
        for name in changed.tensors.names:
            model.get_parameter(name).copy_(changed.tensors.read(name))
