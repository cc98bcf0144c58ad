"""A method loads a base with what it trains, names those parameters, and exports them alone."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from schemas.training import TrainingSpec
from tests.support.ranks import a_spec
from tests.support.tiny_model import build_tiny_model
from workers.base_models.files import BaseRecord
from workers.files import sha256_of_file
from workers.training.rank.methods import METHODS


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
