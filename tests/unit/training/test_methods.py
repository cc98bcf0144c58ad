"""A method loads a base with what it trains, names those parameters, and exports them alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoTokenizer

from schemas.training import TrainingSpec
from tests.support.ranks import a_spec
from tests.support.tiny_model import build_tiny_model
from workers.base_models.files import BaseRecord
from workers.errors import UserError
from workers.files import sha256_of_file
from workers.training.rank.methods import METHODS
from workers.training.rank.methods.expand import spread


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base"))


def loaded(base: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    return METHODS["lora"].load(a_spec(base), base, AutoTokenizer.from_pretrained(base), dtype=torch.float32)


def test_each_method_that_a_recipe_may_name_is_registered() -> None:
    assert set(METHODS) == set(get_args(TrainingSpec.model_fields["method"].annotation))


def test_lora_trains_its_adapter_and_leaves_the_base_alone(base: Path) -> None:
    model = loaded(base)
    trainable = METHODS["lora"].trainable(model)
    assert trainable
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)
    assert [id(parameter) for parameter in trainable.values()] == [id(each) for each in model.parameters() if each.requires_grad]


def test_lora_exports_its_adapter_with_the_record_of_its_base(base: Path, tmp_path: Path) -> None:
    model, record = loaded(base), BaseRecord(base="tiny", sha256="0" * 64)
    folder = tmp_path / "adapter"
    digest = METHODS["lora"].export(model, folder, record, METHODS["lora"].trainable(model).items())
    assert {file.name for file in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors", "base.json"}
    assert digest == sha256_of_file(folder / "adapter_model.safetensors")
    assert len(load_file(folder / "adapter_model.safetensors")) == len(METHODS["lora"].trainable(model))
    assert BaseRecord.read(folder) == record
    assert [entry.name for entry in tmp_path.iterdir()] == ["adapter"], "nothing is left beside it"
    again = loaded(base)
    weights = METHODS["lora"].trainable(again).items()
    assert METHODS["lora"].export(again, tmp_path / "again", record, weights) == digest, "the same seed draws the same adapter"


def test_a_trained_layer_beyond_the_depth_is_refused_with_the_depth(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    for method, recipe in (("freeze", {"freeze_trainable_layers": -3}), ("expand", {"expand_layers": 3})):
        with pytest.raises(UserError, match=f"{next(iter(recipe))} is -?3, and the base .* has 2 layers: give at most that many"):
            METHODS[method].load(a_spec(base, method=method, **recipe), base, tokenizer, dtype=torch.float32)


def test_a_target_that_the_base_does_not_have_is_refused_with_those_that_it_has(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)

    def adapted(*targets: str) -> torch.nn.Module:
        spec = a_spec(base, lora_target_modules=targets)
        return METHODS["lora"].load(spec, base, tokenizer, dtype=torch.float32)

    known = "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    for unknown in ("query_key_value", "lm_head", "proj"):
        with pytest.raises(UserError, match=f"no linear layer of the base .* is called {unknown}. They are called {known}: give some"):
            adapted("q_proj", unknown)
    trained = METHODS["lora"].trainable(adapted("q_proj", "layers.1.mlp.up_proj"))
    assert {name.split(".lora_")[0].removeprefix("base_model.model.model.") for name in trained} == {
        "layers.0.self_attn.q_proj",
        "layers.1.self_attn.q_proj",
        "layers.1.mlp.up_proj",
    }


def test_qlora_stores_the_base_in_four_bits_and_trains_an_adapter(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    model: Any = METHODS["qlora"].load(a_spec(base, method="qlora"), base, tokenizer, dtype=torch.float32)
    weight = model.get_parameter("base_model.model.model.layers.0.mlp.up_proj.base_layer.weight")
    assert (type(weight).__name__, weight.quant_type, weight.nbytes) == ("Params4bit", "nf4", 32 * 64 // 2)
    assert all(".lora_A." in name or ".lora_B." in name for name in METHODS["qlora"].trainable(model))


def test_qlora_is_refused_where_weights_would_be_sharded(base: Path) -> None:
    with pytest.raises(ValidationError, match="zero_stage 3 can't shard the 4-bit weights of qlora"):
        a_spec(base, method="qlora", zero_stage=3)


def test_qlora_is_refused_with_the_reason_where_bitsandbytes_does_not_work(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a worker without it: Python's own mark for a module that can't be imported
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    with pytest.raises(UserError, match=r"bitsandbytes, which does not work here on cpu \(ModuleNotFoundError: .*take method=lora"):
        METHODS["qlora"].load(a_spec(base, method="qlora"), base, AutoTokenizer.from_pretrained(base), dtype=torch.float32)


def test_new_layers_are_spread_over_the_depth_the_last_on_top() -> None:
    assert spread(30, 2) == (15, 31)
    assert spread(4, 4) == (1, 3, 5, 7)
    assert spread(3, 2) == (1, 4)
    assert spread(32, 8) == (4, 9, 14, 19, 24, 29, 34, 39)
