"""A base model is looked at before anything of it is loaded, and known again by its weights."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from schemas.payloads import Stage
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.base_models import files, loading
from workers.base_models.files import BaseRecord, UnusableAdapter, UnusableBase, check, digest
from workers.errors import NotFound, UserError
from workers.inference.engine import Sampling
from workers.inference.local.engine import TransformersEngine
from workers.text.prompts import tuned

INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
PROMPTS = [tuned("The bus was late.", Stage.SUMMARY)]


class Code:
    """A pickle that would leave a file behind."""

    def __init__(self, left: Path) -> None:
        self.left = left

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.left,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def base(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "base")


def names(folder: Path) -> list[str]:
    return sorted(load_file(folder / WEIGHTS))


def shard(folder: Path, shard_name: str = "model-00001-of-00001.safetensors") -> Path:
    """Turn a base of one file into one with an index that names a file."""
    tensors = names(folder)
    (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(tensors, shard_name)}))
    return folder


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def cut(file: Path, size: int) -> None:
    os.truncate(file, size)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda base: (base / "config.json").unlink(), r"has no config\.json"),
    "config is no JSON": (lambda base: (base / "config.json").write_text("{model_type: llama"), r"config\.json is not valid JSON"),
    "config is a list": (lambda base: (base / "config.json").write_text("[]"), r"config\.json is no JSON object"),
    "config is a folder": (lambda base: ((base / "config.json").unlink(), (base / "config.json").mkdir()), "is no file"),
    "config of nothing": (lambda base: (base / "config.json").write_text("{}"), "names no model_type"),
    "no weights": (lambda base: (base / WEIGHTS).unlink(), r"has no model\.safetensors"),
    "a pickle alone": (lambda base: (base / WEIGHTS).rename(base / "pytorch_model.bin"), r"in pytorch_model\.bin, which is never loaded"),
    "index names a pickle": (
        lambda base: shard(base, "pytorch_model.bin"),
        r"names the file 'pytorch_model\.bin', which is no safetensors",
    ),
    "index leaves the folder": (lambda base: shard(base, "../other/model.safetensors"), "outside the model's folder"),
    "index names a place": (lambda base: shard(base, "/srv/model.safetensors"), "outside the model's folder"),
    "index names what is not there": (lambda base: shard(base, "model-00002-of-00001.safetensors"), r"lacks model-00002-of-00001"),
    "index is empty": (lambda base: (shard(base), (base / INDEX).write_text("{}")), "has no weight_map"),
    "index names a number": (lambda base: (shard(base), edit(base / INDEX, weight_map={"a": 1})), "has no weight_map"),
    "index lies": (
        lambda base: (shard(base), edit(base / INDEX, weight_map={"ghost": "model-00001-of-00001.safetensors"})),
        "holds the tensor ghost, and it does not",
    ),
    "weights cut short": (lambda base: cut(base / WEIGHTS, (base / WEIGHTS).stat().st_size - 10), "is damaged"),
    "weights cut to the header": (lambda base: cut(base / WEIGHTS, 100), "cut short"),
    "weights empty": (lambda base: cut(base / WEIGHTS, 0), "cut short"),
    "weights are text": (
        lambda base: (base / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "cut short",
    ),
    "header is no JSON": (lambda base: (base / WEIGHTS).write_bytes((8).to_bytes(8, "little") + b"{no json"), "header can't be read"),
    "link out of the folder": (
        lambda base: ((base / WEIGHTS).rename(base.parent / "elsewhere"), (base / WEIGHTS).symlink_to(base.parent / "elsewhere")),
        "is a link out of the base model's folder",
    ),
    "no tokenizer": (lambda base: [file.unlink() for file in base.glob("tokenizer*")], "has no tokenizer"),
    "tokenizer is no JSON": (lambda base: (base / "tokenizer.json").write_text("{"), r"tokenizer\.json is not valid JSON"),
    "tokenizer of nothing": (lambda base: (base / "tokenizer.json").write_text("{}"), "can't be loaded"),
    "code of its own": (
        lambda base: edit(base / "config.json", model_type="ours", auto_map={"AutoConfig": "ours.C", "AutoModelForCausalLM": "ours.M"}),
        "code of its own, which is never run",
    ),
    "architecture of tomorrow": (lambda base: edit(base / "config.json", model_type="tomorrow9"), "does not know its model_type"),
    "config of another size": (lambda base: edit(base / "config.json", hidden_size=64), "don't belong together"),
    "weights of fewer layers": (lambda base: edit(base / "config.json", num_hidden_layers=3), r"lacks \d+ of the tensors"),
    "tokenizer of a larger model": (
        lambda base: save_cut_embeddings(base),
        "its tokenizer has one with the number",
    ),
    "no chat template": (lambda base: (base / "chat_template.jinja").unlink(), "no chat template"),
    "template that refuses": (lambda base: (base / "chat_template.jinja").write_text("{{ raise_exception('no') }}"), r"fails \(no\)"),
}


def save_cut_embeddings(base: Path) -> None:
    tensors = load_file(base / WEIGHTS)
    tensors = {name: tensor[:100].clone() if "embed_tokens" in name else tensor for name, tensor in tensors.items()}
    save_file(tensors, base / WEIGHTS, {"format": "pt"})
    edit(base / "config.json", vocab_size=100)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_base_that_can_not_be_used_is_a_users_error_in_one_sentence(base: Path, fault: str) -> None:
    break_it, words = BROKEN[fault]
    break_it(base)
    with pytest.raises(UserError, match=words) as refused:
        TransformersEngine(str(base), device="cpu", dtype="float32")
    assert "\n" not in str(refused.value)


def test_no_pickle_is_opened_whatever_names_it(base: Path, tmp_path: Path) -> None:
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Code(tmp_path / "ran")))
    shard(base, "pytorch_model.bin")
    with pytest.raises(UnusableBase):
        TransformersEngine(str(base), device="cpu")
    assert not (tmp_path / "ran").exists()


def test_no_code_of_a_base_is_run(base: Path, tmp_path: Path) -> None:
    (base / "ours.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    edit(base / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "ours.T"]}, tokenizer_class="OursTokenizer")
    edit(base / "config.json", model_type="ours", auto_map={"AutoConfig": "ours.C", "AutoModelForCausalLM": "ours.M"})
    with pytest.raises(UnusableBase):
        TransformersEngine(str(base), device="cpu")
    assert not (tmp_path / "ran").exists()


def test_what_the_hub_caches_and_what_is_sharded_is_taken(base: Path, tmp_path: Path) -> None:
    shard(base)
    cache = tmp_path / "models--ann--soup"
    (cache / "blobs").mkdir(parents=True)
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for number, file in enumerate(base.iterdir()):
        shutil.copy(file, cache / "blobs" / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(number))
    check(snapshot)
    assert digest(snapshot) == digest(base)
    linked = tmp_path / "linked"
    linked.symlink_to(snapshot)
    check(linked)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no base model at"):
        check(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="no base model at"):
        loading.fetch_base("not/a/hub/id")


def test_memory_that_is_short_is_nobodys_fault(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", fails)
    with pytest.raises(torch.OutOfMemoryError):
        loading.load_model(base, AutoTokenizer.from_pretrained(base), torch.float32)


def test_a_digest_is_of_the_weights_and_not_of_names_and_times(base: Path, tmp_path: Path) -> None:
    own = digest(base)
    (base / "README.md").write_text("new")
    edit(base / "config.json", transformers_version="9.9.9", use_cache=False, dtype="float16")
    os.utime(base / WEIGHTS)
    assert digest(shutil.copytree(base, tmp_path / "copy")) == own
    edit(base / "config.json", rms_norm_eps=0.5)
    assert digest(base) != own


def test_a_digest_is_computed_once_and_again_when_the_file_is_another(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    computed: list[Path] = []
    sha256 = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        computed.append(Path(file.name))
        return sha256(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    own = digest(base, cache)
    assert digest(base, cache) == own
    assert len(computed) == 1
    # The same size and the same time, as a copy that keeps times would have.
    seen = (base / WEIGHTS).stat()
    content = bytearray((base / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (base / WEIGHTS).write_bytes(content)
    os.utime(base / WEIGHTS, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert digest(base, cache) != own
    (cache / ".digests.json").write_text("not JSON")
    assert digest(base, cache) == digest(base) != own
    assert digest(base, tmp_path / "nowhere") == digest(base)


@pytest.fixture
def adapter(whole: Path, tmp_path: Path) -> Path:
    return build_tiny_adapter(whole, tmp_path / "adapter")


def test_an_adapter_is_not_put_on_weights_that_changed_under_it(base: Path, adapter: Path) -> None:
    BaseRecord(base="base", sha256=digest(base)).write(adapter)
    before = TransformersEngine(str(base), device="cpu", dtype="float32")
    (answer,) = before.generate(PROMPTS, Sampling(8), adapter)
    assert answer.texts
    # When the base is another model of the same form
    tensors = load_file(base / WEIGHTS)
    save_file({name: tensor + 0.1 for name, tensor in tensors.items()}, base / WEIGHTS, {"format": "pt"})
    after = TransformersEngine(str(base), device="cpu", dtype="float32")
    with pytest.raises(UnusableAdapter, match="has other weights than when the adapter adapter was trained on it"):
        after.generate(PROMPTS, Sampling(8), adapter)
    # Then it answers by itself, and what was loaded before goes on: its weights are those of then
    assert after.generate(PROMPTS, Sampling(8))[0].texts
    assert before.generate(PROMPTS, Sampling(8), adapter)[0] == answer
    # And once those weights are back, they are read
    save_file(tensors, base / WEIGHTS, {"format": "pt"})
    assert after.generate(PROMPTS, Sampling(8), adapter)[0] == answer


def test_an_adapter_of_an_earlier_version_is_taken_with_a_warning(base: Path, adapter: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        engine = TransformersEngine(str(base), device="cpu", dtype="float32")
        assert engine.generate(PROMPTS, Sampling(8), adapter)[0].texts
    assert sum("does not say which weights" in record.message for record in caplog.records) == 1


def test_a_damaged_record_is_refused(base: Path, adapter: Path) -> None:
    (adapter / files.RECORD).write_text("{")
    with pytest.raises(UnusableAdapter, match=r"base\.json can't be read"):
        TransformersEngine(str(base), device="cpu", dtype="float32").generate(PROMPTS, Sampling(8), adapter)
