"""A warm engine turns into one tuned model after another, each as in an engine of its own, with one copy of the weights."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.payloads import Stage
from tests.support.ranks import a_spec
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.base_models import loading
from workers.base_models.files import BaseRecord, digest
from workers.errors import UserError
from workers.inference.engine import Sampling
from workers.inference.local import packing, swapping
from workers.inference.local.engine import TransformersEngine
from workers.text.prompts import tuned
from workers.training.rank.methods import METHODS

PROMPTS = [tuned(tweet, Stage.SUMMARY) for tweet in ("The bus was late.", "Do you know if the library is open?")]
SAMPLING = Sampling(max_new_tokens=8)
RECIPES: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"method": "lora", "use_dora": True, "use_rslora": True},
    "freeze": {"freeze_trainable_layers": 1},
    "expand": {"expand_layers": 2},
    "qlora": {},
    "full": {},
}
ORDER = ["base", "lora", "freeze", "expand", "qlora", "full", "base", "expand", "lora", "dora", "full", "expand", "freeze", "base"]


@pytest.fixture(autouse=True)
def packed_whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_SMALLEST", 1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def models(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    """One tuned model a method, each with chance weights in place of what it trains."""
    tokenizer, record = loading.load_tokenizer(base), BaseRecord(base=str(base), sha256=digest(base))
    folders: dict[str, Path | None] = {"base": None}
    for seed, (name, recipe) in enumerate(RECIPES.items()):
        spec = a_spec(base, **{"method": name, **recipe})
        method = METHODS[spec.method]
        model = method.load(spec, base, tokenizer, dtype=torch.float32)
        torch.manual_seed(seed)
        for parameter in method.trainable(model).values():
            torch.nn.init.normal_(parameter.data, std=0.3)
        folders[name] = tmp_path_factory.mktemp("models") / name
        method.export(model, folders[name], record, method.trainable(model).items())
    return folders


@pytest.fixture
def engine(base: Path) -> TransformersEngine:
    return TransformersEngine(str(base), device="cpu", dtype="float32")


def logits(engine: TransformersEngine) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = engine._model(input_ids=torch.arange(3, 40).unsqueeze(0)).logits
    return found


def test_each_kind_answers_after_others_as_in_an_engine_of_its_own(
    engine: TransformersEngine, base: Path, models: dict[str, Path | None]
) -> None:
    # Given what each model answers in an engine of its own
    alone = {}
    for name, folder in models.items():
        fresh = TransformersEngine(str(base), device="cpu", dtype="float32")
        alone[name] = (fresh.generate(PROMPTS, SAMPLING, folder), logits(fresh))
    assert len({float(found.abs().sum()) for _, found in alone.values()}) == len(models)
    # When one engine turns from one to another
    for name in ORDER:
        answers = engine.generate(PROMPTS, SAMPLING, models[name])
        # Then it answers the same, to the bit
        assert answers == alone[name][0], name
        assert torch.equal(logits(engine), alone[name][1]), name


def tensors() -> Iterator[torch.Tensor]:
    gc.collect()
    return (each for each in gc.get_objects() if issubclass(type(each), torch.Tensor))


def bytes_in_memory() -> int:
    """Of all tensors that are alive, each storage once; what oneDNN packed has none that torch could show."""
    packed = sum(each.numel() * each.element_size() for each in tensors() if each.is_mkldnn)
    plain = (each.untyped_storage() for each in tensors() if not each.is_mkldnn)
    return packed + sum({storage.data_ptr(): storage.nbytes() for storage in plain}.values())


@pytest.mark.parametrize("name", ["lora", "dora", "freeze", "expand", "full"])
def test_a_tuned_model_takes_no_second_copy_of_the_weights(name: str, engine: TransformersEngine, models: dict[str, Path | None]) -> None:
    # Given the base, and its matrices packed
    engine.generate(PROMPTS, SAMPLING)
    engine._forget()
    before = bytes_in_memory()
    # When a tuned model is put on it, then memory grows by its new layers alone, and their matrices packed
    engine.generate(PROMPTS, SAMPLING, models[name])
    engine._forget()
    added = engine._model.model.layers[2:]
    new = sum(each.nbytes for layer in added for each in layer.parameters())
    matrices = sum(each.weight.nbytes for layer in added for each in layer.modules() if isinstance(each, torch.nn.Linear))
    del added
    assert bytes_in_memory() <= before + new + matrices
    assert (new > 0) == (name == "expand")
    engine.generate(PROMPTS, SAMPLING)
    engine._forget()
    assert bytes_in_memory() <= before


def test_the_model_in_memory_is_freed_before_it_is_loaded_anew(
    engine: TransformersEngine, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an adapter whose weights have another shape than it says
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"r": 2}))
    in_memory = weakref.ref(engine._model.get_input_embeddings().weight)
    still_there = []
    load = loading.load_model

    def watched(*args: Any, **options: Any) -> Any:
        still_there.append(in_memory() is not None)
        return load(*args, **options)

    monkeypatch.setattr(loading, "load_model", watched)
    # When it fails half-way
    with pytest.raises(UserError, match="does not fit the base"):
        engine.generate(PROMPTS, SAMPLING, adapter)
    # Then the base was read again, when nothing of it was left in memory
    assert still_there == [False]


def test_a_base_whose_files_hold_other_tensors_than_memory_is_loaded_again(
    base: Path, models: dict[str, Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a family whose tensors have other names in its files than in transformers
    class Renamed(swapping.TensorFiles):
        @property
        def names(self) -> list[str]:
            return [f"language_model.{name}" for name in super().names]

    engine = TransformersEngine(str(base), device="cpu", dtype="float32")
    answers, before = engine.generate(PROMPTS, SAMPLING), logits(engine)
    monkeypatch.setattr(engine._weights, "_stored", Renamed([base / "model.safetensors"]))
    # When it has been an adapter
    engine.generate(PROMPTS, SAMPLING, models["lora"])
    # Then it is itself again all the same
    assert engine.generate(PROMPTS, SAMPLING) == answers
    assert torch.equal(logits(engine), before)


def test_an_adapter_of_an_earlier_version_goes_on_as_before(engine: TransformersEngine, base: Path, tmp_path: Path) -> None:
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    before = engine.generate(PROMPTS, SAMPLING)
    assert engine.generate(PROMPTS, SAMPLING, adapter) != before
    assert engine.generate(PROMPTS, SAMPLING) == before
