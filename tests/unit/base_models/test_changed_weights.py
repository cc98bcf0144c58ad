"""A tuned model is kept as the tensors that differ from its base's: whole or refused, in one file or in several."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.payloads import Stage
from tests.support.tiny_model import build_tiny_model
from workers.base_models import changed_weights, loading
from workers.base_models.files import BaseRecord, UnusableAdapter, digest
from workers.files import sha256_of_file
from workers.inference.engine import Sampling
from workers.inference.local.engine import TransformersEngine
from workers.text.prompts import tuned

RECORD = BaseRecord(base="tiny", sha256="0" * 64)
WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4), "c": torch.zeros(5)}


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    sha256 = changed_weights.write(tmp_path / "tuned", WEIGHTS.items(), RECORD, method="freeze")
    assert {file.name for file in (tmp_path / "tuned").iterdir()} == {"changed_weights.safetensors", "changed_weights.json", "base.json"}
    assert sha256 == sha256_of_file(tmp_path / "tuned" / "changed_weights.safetensors")
    changed = changed_weights.read(tmp_path / "tuned")
    assert changed.description == changed_weights.Description(method="freeze", tensors=3)
    assert {name: changed.tensors.read(name).tolist() for name in changed.tensors.names} == {n: t.tolist() for n, t in WEIGHTS.items()}


def test_large_models_are_cut_into_shards_with_the_index_that_hugging_face_writes(tmp_path: Path) -> None:
    # Given room for two of the tensors in a file
    sha256 = changed_weights.write(tmp_path / "tuned", iter(WEIGHTS.items()), RECORD, method="full", shard_bytes=40)
    # Then there are two files, and the index names the place of each tensor
    folder = tmp_path / "tuned"
    names = ["changed_weights-00001-of-00002.safetensors", "changed_weights-00002-of-00002.safetensors"]
    assert [set(load_file(folder / name)) for name in names] == [{"a", "b"}, {"c"}]
    index = json.loads((folder / "changed_weights.safetensors.index.json").read_text())
    assert index["weight_map"] == {"a": names[0], "b": names[0], "c": names[1]}
    assert set(changed_weights.read(folder).tensors.names) == set(WEIGHTS)
    assert sha256 != changed_weights.write(folder, {**WEIGHTS, "c": torch.ones(5)}.items(), RECORD, method="full", shard_bytes=40)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda folder: (folder / "changed_weights.safetensors").write_bytes(b"12"), "cut short"),
    "no weights": (lambda folder: (folder / "changed_weights.safetensors").unlink(), "has no changed_weights.safetensors"),
    "a tensor gone": (
        lambda folder: save_file({"a": WEIGHTS["a"]}, folder / "changed_weights.safetensors"),
        "holds 1 tensors, and .* says 3",
    ),
    "no description": (lambda folder: (folder / "changed_weights.json").write_text("{}"), "changed_weights.json can't be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_refused_with_what_it_is(damage: str, tmp_path: Path) -> None:
    spoil, message = DAMAGES[damage]
    changed_weights.write(tmp_path / "tuned", WEIGHTS.items(), RECORD, method="full")
    spoil(tmp_path / "tuned")
    with pytest.raises(UnusableAdapter, match=message):
        changed_weights.read(tmp_path / "tuned")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base"))


def test_what_does_not_fit_is_refused_and_the_base_answers_on(base: Path, tmp_path: Path) -> None:
    # Given models of other shapes, of other names, and with layers that are stored in part
    record = BaseRecord(base=str(base), sha256=digest(base))
    model = loading.load_model(base, loading.load_tokenizer(base), torch.float32)
    norm = {"model.layers.0.input_layernorm.weight": torch.ones(32)}
    foreign = {
        "shape": ({"model.norm.weight": torch.ones(33)}, (), "shape"),
        "name": ({"model.other.weight": torch.ones(32)}, (), "no tensor model.other.weight"),
        "half a layer": (norm, (1,), "not those of its new layers"),
        "a layer of another model": (norm, (9,), "no layer can be inserted at place 9"),
    }
    engine = TransformersEngine(str(base), device="cpu", dtype="float32")
    prompts, sampling = [tuned("The bus was late.", Stage.SUMMARY)], Sampling(max_new_tokens=6)
    answers = engine.generate(prompts, sampling)
    for name, (tensors, new_layers, message) in foreign.items():
        changed_weights.write(tmp_path / name, tensors.items(), record, method="full", new_layers=new_layers)
        # Then each is refused, and the model in memory is the base again
        with pytest.raises(UnusableAdapter, match=f"does not fit the base .*{message}"):
            engine.generate(prompts, sampling, tmp_path / name)
        assert engine.generate(prompts, sampling) == answers
        assert engine._model.config.num_hidden_layers == model.config.num_hidden_layers


def test_a_model_is_not_put_on_another_base(base: Path, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, other / "model.safetensors", metadata={"format": "pt"})
    record = BaseRecord(base=str(base), sha256=digest(base))
    changed_weights.write(tmp_path / "tuned", {"model.norm.weight": torch.ones(32)}.items(), record, method="full")
    engine = TransformersEngine(str(other), device="cpu", dtype="float32")
    with pytest.raises(UnusableAdapter, match="other weights than when the adapter tuned was trained"):
        engine.generate([tuned("The bus was late.", Stage.SUMMARY)], Sampling(max_new_tokens=2), tmp_path / "tuned")
