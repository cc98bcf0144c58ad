"""A base model in memory, which becomes one tuned model after another: adapters, and models stored as changed tensors.

There is one copy of the weights. What a tuned model overwrites is read again from the base's own files, which are memory-mapped.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from workers.base_models import changed_weights, files, loading
from workers.base_models.decoder import insert_layers, remove_layers
from workers.base_models.files import UnusableAdapter
from workers.base_models.tensor_reader import TensorFiles
from workers.inference.local.packing import PackedLayers

logger = logging.getLogger(__name__)

ADAPTER_WEIGHTS = "adapter_model.safetensors"


class SwappableModel:
    """A base model, and at most one tuned model on it.

    Args:
        folder: of the base, checked.
        tokenizer: of the base.
        dtype: of the weights.
        device: where they lie.

    Attributes:
        model: what answers now.
        is_base: whether that is the base alone.

    Raises:
        UnusableBase: the base can't be loaded.
    """

    def __init__(self, folder: Path, tokenizer: Any, dtype: torch.dtype, device: str) -> None:
        self._folder, self._tokenizer, self._dtype, self._device = folder, tokenizer, dtype, device
        self.model: Any = None
        self.is_base = True
        self._packed: PackedLayers | None = None
        self.load()

    def load(self) -> None:
        """Load the base from its files; what was in memory is freed first."""
        self.model = self._packed = None
        gc.collect()  # models hold references in circles
        self._stored = TensorFiles(files.weight_files(self._folder))
        self._overwritten: set[str] = set()
        self._new_layers: tuple[int, ...] = ()
        self._is_restorable = self.is_base = True
        self.model = loading.load_model(self._folder, self._tokenizer, self._dtype).to(self._device).eval()

    def pack(self) -> None:
        """Let what answers now compute as fast as this CPU can, until it becomes another model."""
        if self._packed is None:
            self._packed = PackedLayers(self.model)

    def _unpack(self) -> None:
        if self._packed is not None:
            self._packed.undo()
        self._packed = None

    def put_on(self, tuned: Path) -> None:
        """Turn the base into a tuned model.

        Raises:
            Exception: it does not fit. The model then is neither: `load` it again.
        """
        self._unpack()
        self.is_base = False
        if changed_weights.is_in(tuned):
            self._overwrite(changed_weights.read(tuned))
        else:
            self._merge(tuned)

    def _overwrite(self, changed: changed_weights.ChangedWeights) -> None:
        self._new_layers = changed.description.new_layers
        insert_layers(self.model, self._new_layers)
        changed_weights.check_fits(changed, self.model)
        if not self._new_layers:
            self._remember({name: self.model.get_parameter(name) for name in changed.tensors.names})
        changed_weights.copy_into(changed, self.model)

    def _merge(self, adapter: Path) -> None:
        from peft import PeftModel
        from peft.tuners.lora import LoraLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        wrapped = PeftModel.from_pretrained(self.model, adapter)
        modules = dict(wrapped.get_base_model().named_modules())
        self._remember({f"{name}.weight": each.get_base_layer().weight for name, each in modules.items() if isinstance(each, LoraLayer)})
        if any(isinstance(each, AuxiliaryTrainingWrapper) for each in modules.values()):
            self._is_restorable = False  # whole modules are replaced
        self.model = wrapped.merge_and_unload(safe_merge=True).eval()

    def _remember(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Keep the names of weights that will be overwritten, after a look at whether the base's files have them as they are here.

        For some families transformers renames, fuses or turns tensors when it loads them: they can't be restored one by one.
        """
        self._overwritten = set(parameters)
        for name, here in parameters.items():
            self._is_restorable &= self._is_stored(name, here)

    def _is_stored(self, name: str, here: torch.Tensor) -> bool:
        if name not in self._stored.names or self._stored.shape(name) != tuple(here.shape):
            return False
        same: bool = torch.equal(self._stored.read(name).to(here.device, here.dtype), here)
        return same

    def restore(self) -> None:
        """Turn the tuned model into the base again."""
        if not self._is_restorable:
            logger.info("engine: the base's files hold other tensors than the model in memory: loading it again")
            self.load()
            return
        self._unpack()
        remove_layers(self.model, self._new_layers)
        self._new_layers = ()
        with torch.no_grad():
            for name in self._overwritten:
                self.model.get_parameter(name).copy_(self._stored.read(name))
        self._overwritten = set()
        self.is_base = True


def identity(tuned: Path) -> tuple[str, int]:
    """Return what tells a tuned model from others, and from what its folder held before: the path of its weights, and their time.

    Raises:
        UnusableAdapter: the folder holds no tuned model.
    """
    weights = tuned / (changed_weights.DESCRIPTION if changed_weights.is_in(tuned) else ADAPTER_WEIGHTS)
    if not weights.is_file():
        raise UnusableAdapter(
            f"{tuned} has neither {ADAPTER_WEIGHTS} nor {changed_weights.WEIGHTS}: give the folder of a trained model, in safetensors"
        )
    return str(weights.resolve()), weights.stat().st_mtime_ns
