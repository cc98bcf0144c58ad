"""Each recipe in `recipes/models` is read, and its method takes a model that has the shape of its base."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from producers import recipes
from schemas.training import TrainingSpec
from workers.estimates.architecture import read_architecture
from workers.estimates.fitting import judge
from workers.estimates.machine import Device
from workers.estimates.parameters import count_parameters

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "recipes" / "models"
CONFIGS = ROOT / "tests" / "support" / "configs"
SHAPES = {
    "meta-llama/Llama-3.2-1B-Instruct": "llama-3.2-1b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "Qwen/Qwen3-4B-Instruct-2507": "qwen3-4b",
    "google/gemma-3-1b-it": "gemma-3-1b",
    "mistralai/Mistral-7B-Instruct-v0.3": "mistral-7b-v0.3",
}
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))
every_recipe = pytest.mark.parametrize("name", NAMES)


def spec_of(name: str) -> TrainingSpec:
    return recipes.read_training(FOLDER / name)


def base_on_meta(spec: TrainingSpec) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(CONFIGS / SHAPES[spec.base]))


def test_there_is_a_recipe_for_each_method_and_for_several_nodes() -> None:
    specs = [spec_of(name) for name in NAMES]
    assert {spec.method for spec in specs} == {"full", "freeze", "expand", "lora", "qlora"}
    assert {spec.base for spec in specs} == set(SHAPES)
    assert any((spec.nodes, spec.world_size, spec.zero_stage) == (2, 16, 3) for spec in specs)
    assert len({spec.name for spec in specs}) == len(specs)


@every_recipe
def test_the_base_has_the_parameters_that_the_recipe_trains(name: str) -> None:
    spec = spec_of(name)
    base = base_on_meta(spec)
    counted = count_parameters(read_architecture(CONFIGS / SHAPES[spec.base]), spec)
    total = sum(parameter.numel() for parameter in base.parameters())
    added = counted.trainable if spec.method in ("lora", "qlora", "expand") else 0

    assert counted.total == total + added
    assert 0 < counted.trainable <= counted.total


@every_recipe
def test_it_fits_the_gpus_that_the_head_of_the_file_asks_for(name: str) -> None:
    spec = spec_of(name)
    asked = re.search(r"(\d+) GPUs? of (\d+) GB", (FOLDER / name).read_text())
    assert asked is not None
    assert int(asked[1]) == spec.ranks_per_node
    gpu = Device(True, int(asked[2]) * 10**9, 2, "a GPU")

    assert judge(read_architecture(CONFIGS / SHAPES[spec.base]), spec, gpu).fits


@every_recipe
def test_the_head_of_the_file_names_the_commands_and_files_that_there_are(name: str) -> None:
    head = [line.removeprefix("#").strip() for line in (FOLDER / name).read_text().splitlines() if line.startswith("#")]
    commands = [line for line in head if "tweetmill " in line]
    assert [command.split("tweetmill ")[1].split(" dataset=")[0] for command in commands] == [
        f"doctor -r recipes/models/{name}",
        f"train -r recipes/models/{name}",
    ]
    see = next(line for line in head if line.startswith("See also:")).removeprefix("See also:").split(",")
    assert all((ROOT / path.strip()).is_file() for path in see)
