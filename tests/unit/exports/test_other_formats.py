"""Models of every method as every format: what can be exported answers as the original, and what can't says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file, save_file

from schemas.payloads import ExportSpec
from tests.support.exported import ROWS, checked, part_of, written
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from workers.base_models import changed_weights, files, loading
from workers.base_models.decoder import decoder_layers, insert_layers
from workers.errors import UserError
from workers.evaluation.systems import HeldBackRow
from workers.exports import formats
from workers.exports.formats import Part

pytestmark = pytest.mark.usefixtures("computes_in_float32")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def adapted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Part:
    return part_of(base, build_tiny_adapter(base, tmp_path_factory.mktemp("tuned") / "lora"))


def changed(base: Path, folder: Path, method: str) -> Part:
    """A model stored as the tensors that differ from its base: those of its last layer, or of a new one above it."""
    model = loading.load_model(base, loading.load_tokenizer(base), torch.float32)
    new = (2,) if method == "expand" else ()
    insert_layers(model, new)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    torch.manual_seed(1)
    tensors = [(names[id(each)], each.detach() + 0.1 * torch.randn_like(each)) for each in decoder_layers(model)[-1].parameters()]
    changed_weights.write(folder, tensors, files.BaseRecord(base=str(base), sha256=files.digest(base)), method=method, new_layers=new)
    return part_of(base, folder, method=method)


@pytest.mark.parametrize("method", ["full", "freeze", "expand"])
def test_changed_tensors_are_exported_whole_and_not_as_an_adapter(base: Path, tmp_path: Path, method: str) -> None:
    part = changed(base, tmp_path / "tuned", method)
    written(part, tmp_path / "out")
    assert checked(part, tmp_path / "out")["same_summaries"] == ROWS
    with pytest.raises(UserError, match=f"is of the method {method}, which changes the base's own weights"):
        formats.check(part, ExportSpec(model_id=1, format="adapter"))


def test_a_gguf_file_rounds_what_was_tuned_in_float32_once_and_not_to_the_type_of_its_base(tmp_path: Path) -> None:
    # Given a base in bfloat16, whose last layer was tuned in float32
    base = build_tiny_model(tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    save_file({name: weight.bfloat16() for name, weight in weights.items()}, base / "model.safetensors", metadata={"format": "pt"})
    (base / "config.json").write_text((base / "config.json").read_text().replace('"float32"', '"bfloat16"'))
    part = changed(base, tmp_path / "tuned", "freeze")
    written(part, tmp_path / "merged")
    assert load_file(tmp_path / "merged" / "model.safetensors")["model.norm.weight"].dtype is torch.bfloat16
    # When it is written in half precision
    written(part, tmp_path / "out", "gguf", quant="f16")
    # Then its weights are those that were tuned, but for the last bit of eleven
    (file,) = (tmp_path / "out").glob("*.gguf")
    held = next(tensor for tensor in GGUFReader(file).tensors if tensor.name == "blk.1.ffn_down.weight")
    tuned = load_file(next((tmp_path / "tuned").glob("*.safetensors")))["model.layers.1.mlp.down_proj.weight"]
    assert torch.allclose(torch.tensor(held.data.astype("float32")), tuned, rtol=2**-11, atol=2**-24)


@pytest.mark.parametrize(("options", "takers"), [({"use_dora": True}, set()), ({"use_rslora": True}, {"vLLM", "Together"})])
def test_kinds_of_adapters_that_some_hosts_refuse_are_the_same_merged(
    base: Path, tmp_path: Path, options: dict[str, bool], takers: set[str]
) -> None:
    part = part_of(base, build_tiny_adapter(base, tmp_path / "tuned", **options), method="qlora")
    assert {each.host for each in written(part, tmp_path / "adapter", "adapter").hosts if each.takes} == takers
    written(part, tmp_path / "merged")
    assert checked(part, tmp_path / "adapter")["same_summaries"] == checked(part, tmp_path / "merged")["same_summaries"] == ROWS


def test_ollama_gets_a_gguf_file_and_a_modelfile_that_writes_the_same_prompt(adapted: Part, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written(adapted, out, "ollama")
    assert {path.name for path in out.iterdir()} == {"short-f16.gguf", "Modelfile", "export.json"}
    found = checked(adapted, out)
    assert found["n"] == found["same_prompts"] == found["same_tokens"] == found["same_summaries"] == ROWS
    assert found["engine"].startswith("llama.cpp")
    assert found["divergence"]["mean"] < 0.01
    assert (out / "Modelfile").read_text() == (
        'FROM ./short-f16.gguf\nTEMPLATE """<|im_start|>system\n{{ .System }}<|im_end|>\n<|im_start|>user\n{{ .Prompt }}<|im_end|>\n'
        '<|im_start|>assistant\n"""\nSYSTEM """Summarize the tweet."""\nPARAMETER stop "<|im_end|>"\nPARAMETER num_ctx 512\n'
        "PARAMETER num_predict 40\nPARAMETER temperature 0\nPARAMETER repeat_penalty 1\n"
    )
    for damage, sentence in MODELFILES.values():
        text = (out / "Modelfile").read_text()
        (out / "Modelfile").write_text(damage(text))
        with pytest.raises(UserError, match=sentence):
            checked(adapted, out)
        (out / "Modelfile").write_text(text)


def with_a_row_of(part: Part, letters: int) -> Part:
    """The same model, with a tweet of two tokens a letter among those that are held back."""
    long = HeldBackRow("long", "ж" * letters, ("A letter.",))
    return replace(part, rows=(part.rows[0], long))


def test_a_tweet_that_does_not_fit_into_the_context_of_a_gguf_file_is_left_out_and_counted(adapted: Part, tmp_path: Path) -> None:
    written(adapted, tmp_path / "out", "gguf")
    found = checked(with_a_row_of(adapted, 400), tmp_path / "out")
    assert (found["n"], found["left_out"], found["same_summaries"]) == (1, 1, 1)
    with pytest.raises(UserError, match="none of 1 tweets fits into its context of 512 tokens"):
        checked(replace(adapted, rows=with_a_row_of(adapted, 400).rows[1:]), tmp_path / "out")


def test_a_tweet_that_is_long_is_checked_where_the_model_takes_it(tmp_path: Path) -> None:
    # Given a tweet of more tokens than llama.cpp is otherwise given
    base = build_tiny_model(tmp_path / "base")
    (base / "config.json").write_text((base / "config.json").read_text().replace('_embeddings": 512', '_embeddings": 4096'))
    part = with_a_row_of(part_of(base, build_tiny_adapter(base, tmp_path / "tuned")), 1100)
    written(part, tmp_path / "out", "gguf")
    # Then it goes through both
    found = checked(part, tmp_path / "out")
    assert (found["n"], found["left_out"], found["same_prompts"], found["same_tokens"]) == (2, 0, 2, 2)


MODELFILES: dict[str, tuple[Callable[[str], str], str]] = {
    "template": (lambda text: text.replace("assistant\n", "bot\n"), "the Modelfile's TEMPLATE writes another prompt"),
    "stop": (lambda text: text.replace("PARAMETER stop", "# PARAMETER stop"), "lacks PARAMETER stop <.im_end.>"),
    "system": (lambda text: text.replace("Summarize", "Translate"), "the Modelfile's SYSTEM is another text"),
}
