"""Trains LoRA adapters on a base whose frozen weights are stored in four bits: QLoRA (Dettmers et al., 2023, https://arxiv.org/abs/2305.14314).

bitsandbytes stores the linear layers as nf4 and multiplies in the type of the training. It runs on CUDA, and on CPUs slowly.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.base_models.loading import is_of_machine
from workers.errors import UserError
from workers.training.rank.methods.lora import Lora, add_adapter
from workers.training.rank.methods.parameters import load_for_training

if TYPE_CHECKING:
    import torch

    from schemas.training import TrainingSpec


class QLora(Lora):
    """The method `qlora`: the adapter of `lora`, on a base in four bits. See `Method`."""

    def load(self, spec: TrainingSpec, folder: Path, tokenizer: Any, **options: Any) -> torch.nn.Module:
        """Load the base model in four bits, freeze it, and add an adapter with new weights, drawn from torch's generator."""
        import torch
        from peft import prepare_model_for_kbit_training
        from transformers import BitsAndBytesConfig

        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        dtype = options["dtype"]
        _check_four_bits(device, dtype)
        stored = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        base = load_for_training(folder, tokenizer, quantization_config=stored, device_map={"": device}, **options)
        # Activation checkpointing is set up for all methods alike.
        return add_adapter(prepare_model_for_kbit_training(base, use_gradient_checkpointing=False), spec)


def _check_four_bits(device: torch.device, dtype: torch.dtype) -> None:
    """Multiply by a small matrix in four bits.

    Raises:
        UserError: bitsandbytes can't do it here, and why.
    """
    import torch

    try:
        from bitsandbytes.nn import Linear4bit

        layer = Linear4bit(64, 64, bias=False, compute_dtype=dtype, quant_type="nf4").to(device)
        finite = bool(layer(torch.ones(2, 64, dtype=dtype, device=device)).isfinite().all())
    except Exception as error:
        if is_of_machine(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"method qlora needs bitsandbytes, which does not work here on {device.type} ({type(error).__name__}: {reason}):"
            " install tweetmill[gpu] on this worker, or take method=lora"
        ) from error
    if not finite:
        raise UserError(f"method qlora needs bitsandbytes, which computes wrongly here on {device.type}: take method=lora")
