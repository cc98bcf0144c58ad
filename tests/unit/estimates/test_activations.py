"""The activations that are counted are those that autograd keeps: checked by saved-tensor hooks on models without weights in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

from schemas.training import TrainingSpec
from workers.estimates.activations import Batch, Kernel, layer_bytes, logit_bytes
from workers.estimates.architecture import read_architecture
from workers.estimates.parameters import count_parameters

CONFIGS = Path(__file__).parents[2] / "support" / "configs"
LAYERS = 4


class Fused(torch.autograd.Function):
    """Keeps what fused attention keeps on a GPU: queries, keys, values, the output, and a number a row."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, torch.empty(query.shape[:3], device=query.device))
        return out


def fused(_module: Any, query: Any, key: Any, value: Any, _mask: Any, **_: Any) -> tuple[torch.Tensor, None]:
    return Fused.apply(query, key, value).transpose(1, 2).contiguous(), None


AttentionInterface.register("kept_as_on_gpus", fused)


def shallow(folder: Path, name: str) -> Path:
    """The config of a model with fewer layers."""
    config = json.loads((CONFIGS / name / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": LAYERS}))
    return folder


def kept_bytes(folder: Path, spec: TrainingSpec, batch: Batch, dtype: torch.dtype, attention: str) -> int:
    """The bytes that autograd keeps of a forward pass through the decoder, parameters left out."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation=attention, dtype=dtype)
    if spec.method == "lora":
        model = get_peft_model(model, LoraConfig(r=spec.lora_r, target_modules="all-linear", task_type="CAUSAL_LM")).to(dtype)
    elif spec.method == "freeze":
        model.requires_grad_(False)
        for layer in model.model.layers[-spec.freeze_trainable_layers :]:
            layer.requires_grad_(True)
    decoder = (model.get_base_model() if spec.method == "lora" else model).model.train()
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage()._cdata
        if place not in own:
            kept.setdefault(place, tensor)
        return tensor

    ids = torch.zeros((batch.rows, batch.length), dtype=torch.long, device="meta")
    mask = torch.zeros((batch.rows, 1, batch.length, batch.length), dtype=dtype, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        decoder(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("name", ["llama-3.2-1b", "qwen2.5-1.5b", "qwen3-4b", "gemma-2-2b", "gemma-3-1b", "mistral-7b-v0.3"])
@pytest.mark.parametrize("method", ["lora", "full", "freeze"])
@pytest.mark.parametrize(("dtype", "attention"), [(torch.bfloat16, "kept_as_on_gpus"), (torch.float32, "eager")], ids=["gpu", "cpu"])
def test_counted_bytes_are_those_that_autograd_keeps(name: str, method: Any, dtype: torch.dtype, attention: str, tmp_path: Path) -> None:
    spec = TrainingSpec(name="m", base="b", dataset="d", method=method, freeze_trainable_layers=2)
    batch = Batch(rows=2, length=96, completion=16)
    folder = shallow(tmp_path, name)
    base = read_architecture(folder)
    uses = count_parameters(base, spec).layers
    kernel = Kernel(dtype.itemsize, eager=attention == "eager")

    counted = sum(layer_bytes(base, use, spec, 7 if method == "lora" else 0, batch, kernel) for use in uses)

    assert counted == pytest.approx(kept_bytes(folder, spec, batch, dtype, attention), rel=0.1)


def test_a_token_of_a_large_model_keeps_megabytes_and_with_checkpointing_little() -> None:
    base = read_architecture(CONFIGS / "llama-3.1-8b")
    spec = TrainingSpec(name="m", base="b", dataset="d")
    use = count_parameters(base, spec).layers[0]
    each = layer_bytes(base, use, spec, 7, Batch(1, 1, 1), Kernel(2, eager=False)) * len(base.layers)
    assert each == pytest.approx(6e6, rel=0.05)
    assert base.hidden * 2 * len(base.layers) == 262_144


def test_the_logits_of_the_worst_completions_are_counted_where_longer_ones_would_be_taken_in_chunks() -> None:
    base, kernel = read_architecture(CONFIGS / "llama-3.2-1b"), Kernel(2, eager=False)
    rows = 32  # of 64 tokens: as many predictions as the residual stream is wide

    at_most = logit_bytes(base, Batch(rows, 192, 64), kernel)

    assert at_most >= max(logit_bytes(base, Batch(rows, 192, completion), kernel) for completion in range(1, 64))
