"""Parameters are counted from a config alone, and are those of the model that transformers builds from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from schemas.training import TrainingSpec
from tests.support.tiny_model import build_tiny_model
from workers.base_models.files import UnusableBase
from workers.errors import NotFound, UserError
from workers.estimates.architecture import of_config, read_architecture
from workers.estimates.parameters import count_parameters

CONFIGS = Path(__file__).parents[2] / "support" / "configs"
PUBLISHED = {
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.1-8b": 8_030_261_248,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen3-4b": 4_022_468_096,
    "gemma-2-2b": 2_614_341_888,
    "gemma-3-1b": 999_885_952,
    "mistral-7b-v0.3": 7_248_023_552,
}
every_config = pytest.mark.parametrize("name", sorted(PUBLISHED))


def a_spec(**changes: Any) -> TrainingSpec:
    return TrainingSpec(**{"name": "m", "base": "b", "dataset": "d"} | changes)


def on_meta(name: str) -> Any:
    """The whole model, without memory for its weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(CONFIGS / name))


def numbers(model: Any, is_trained: Callable[[str], bool] = lambda _: True) -> int:
    return sum(parameter.numel() for name, parameter in model.named_parameters() if is_trained(name))


@every_config
def test_all_parameters_are_those_of_the_model(name: str) -> None:
    architecture = read_architecture(CONFIGS / name)
    model = on_meta(name)

    assert architecture.parameters == numbers(model) == PUBLISHED[name]
    ours = {f"layers.0.{tensor}" for tensor in architecture.layers[0]}
    assert ours == {tensor.removeprefix("model.") for tensor, _ in model.named_parameters() if ".layers.0." in tensor}


@every_config
@pytest.mark.parametrize("options", [{"lora_r": 16}, {"lora_r": 8, "use_dora": True}, {"lora_target_modules": ["q_proj", "v_proj"]}])
def test_an_adapters_parameters_are_those_of_peft(name: str, options: dict[str, Any]) -> None:
    spec = a_spec(**options)
    targets = spec.lora_target_modules if spec.lora_target_modules == "all-linear" else list(spec.lora_target_modules)
    config = LoraConfig(r=spec.lora_r, target_modules=targets, use_dora=spec.use_dora, task_type="CAUSAL_LM")
    adapted = get_peft_model(on_meta(name), config)

    counted = count_parameters(read_architecture(CONFIGS / name), spec)
    assert counted.trainable == numbers(adapted, lambda tensor: "lora_" in tensor)
    assert counted.total == numbers(adapted)


@every_config
def test_layers_that_are_unlocked_or_added_count_whole(name: str) -> None:
    architecture, model = read_architecture(CONFIGS / name), on_meta(name)
    depth = len(architecture.layers)
    last = tuple(f"model.layers.{place}." for place in (depth - 2, depth - 1))

    freeze = count_parameters(architecture, a_spec(method="freeze", freeze_trainable_layers=2))
    assert freeze.trainable == numbers(model, lambda tensor: tensor.startswith((*last, "model.norm.")))
    first = count_parameters(architecture, a_spec(method="freeze", freeze_trainable_layers=-1))
    assert first.trainable == numbers(model, lambda tensor: tensor.startswith("model.layers.0."))
    expand = count_parameters(architecture, a_spec(method="expand", expand_layers=2))
    assert expand.trainable == numbers(model, lambda tensor: tensor.startswith(last))
    assert expand.total == PUBLISHED[name] + expand.trainable
    assert count_parameters(architecture, a_spec(method="full")).trainable == PUBLISHED[name]


def test_gradients_go_no_further_down_than_what_is_trained() -> None:
    architecture = read_architecture(CONFIGS / "llama-3.2-1b")
    last = count_parameters(architecture, a_spec(method="freeze", freeze_trainable_layers=2)).layers
    assert [use.in_graph for use in last] == [False] * 14 + [True] * 2
    first = count_parameters(architecture, a_spec(method="freeze", freeze_trainable_layers=-2)).layers
    assert [(use.in_graph, use.trained) for use in first] == [(True, True)] * 2 + [(True, False)] * 14
    new = count_parameters(architecture, a_spec(method="expand", expand_layers=2)).layers
    assert [place for place, use in enumerate(new) if use.trained] == [8, 17]
    assert [use.in_graph for use in new] == [False] * 8 + [True] * 10


def test_weights_on_disk_tell_the_tensors_of_any_family(tmp_path: Path) -> None:
    base = build_tiny_model(tmp_path / "tiny")
    by_headers = read_architecture(base)
    config = json.loads((base / "config.json").read_text())
    assert by_headers == of_config(config), "the family's own list says the same"
    unknown = {**config, "model_type": "of-tomorrow"}
    (base / "config.json").write_text(json.dumps(unknown))
    assert read_architecture(base).parameters == by_headers.parameters
    with pytest.raises(UnusableBase, match="model_type of-tomorrow: its tensors are known only from its weights"):
        of_config(unknown)


def test_what_can_not_be_counted_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no config\.json in"):
        read_architecture(tmp_path)
    with pytest.raises(UnusableBase, match="'hidden_size' is missing"):
        of_config({"model_type": "llama"})
    architecture = read_architecture(CONFIGS / "llama-3.2-1b")
    for wrong in ({"method": "freeze", "freeze_trainable_layers": 17}, {"method": "expand", "expand_layers": 17}):
        with pytest.raises(UserError, match="is 17, and the base has 16 layers"):
            count_parameters(architecture, a_spec(**wrong))
    with pytest.raises(UserError, match="no linear layer called c_attn"):
        count_parameters(architecture, a_spec(lora_target_modules=["c_attn"]))
