"""An export answers as the original, and each way in which a folder can be another model is refused with a sentence that names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen3MoeConfig

from tests.support.exported import BASE_ID, ROWS, checked, part_of, written
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model, build_tokenizer, write_random_model
from workers.errors import UserError
from workers.exports.formats import Part
from workers.exports.weights import tensors
from workers.inference.local.engine import TransformersEngine

pytestmark = pytest.mark.usefixtures("computes_in_float32")

LAYER = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def part(place: Path) -> Part:
    base = build_tiny_model(place / "base")
    return part_of(base, build_tiny_adapter(base, place / "tuned"))


@pytest.fixture(scope="module")
def exported(place: Path, part: Part) -> Path:
    """A folder with both exports."""
    written(part, place / "out" / "merged", "merged")
    written(part, place / "out" / "adapter", "adapter")
    return place / "out"


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_an_export_that_nobody_touched_is_the_same_model(part: Part, exported: Path, kind: str) -> None:
    found = checked(part, exported / kind)
    assert found["n"] == found["same_prompts"] == found["same_tokens"] == found["same_summaries"] == ROWS
    assert found["sari"]["difference"] == found["sari"]["low"] == found["sari"]["high"] == 0
    assert found["divergence"]["mean"] < 1e-6
    assert found["divergence"]["same_best"] == 1
    assert found["engine"].startswith({"merged": "transformers", "adapter": "peft"}[kind])


def edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new))

    return change


def both_templates(folder: Path) -> None:
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        edit(file, "<|im_start|>assistant", "<|im_start|>bot")(folder)


def unmerge(folder: Path) -> None:
    """Put one layer back to what the base has."""
    name = "model.layers.1.self_attn.v_proj.weight"
    change_tensor(folder, name, load_file(folder.parents[1] / "base" / "model.safetensors")[name])


def change_tensor(folder: Path, name: str, tensor: object) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {name: tensor}, folder / "model.safetensors", metadata={"format": "pt"})


def stretch(folder: Path) -> None:
    change_tensor(folder, "model.norm.weight", load_file(folder / "model.safetensors")["model.norm.weight"] * 1.5)


def other_adapter(folder: Path) -> None:
    other = build_tiny_adapter(folder.parents[1] / "base", folder.parent / "other", seed=7)
    shutil.copyfile(other / "adapter_model.safetensors", folder / "adapter_model.safetensors")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def edit_header(path: Path) -> None:
    """Give a tensor a type that there is none of, in a file that is whole otherwise."""
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"F99"', 1))


no_stop = edit("generation_config.json", "    2\n", "    0\n")
BROKEN: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "another template": ("merged", both_templates, "chat_template.jinja writes another prompt than the model was trained on, for 3 of 3"),
    "two templates": ("merged", edit("chat_template.jinja", "assistant", "bot"), "hold two chat templates"),
    "no template": ("merged", lambda folder: (folder / "chat_template.jinja").unlink(), "the export has no chat_template.jinja"),
    "no stop token": ("merged", no_stop, "lacks the stop token <|im_end|>"),
    "layer not merged": (
        "merged",
        unmerge,
        "model.layers.1.self_attn.v_proj.weight of model.safetensors has the base's weights: it was not",
    ),
    "another tensor": ("merged", stretch, "model.norm.weight of model.safetensors is not the original's"),
    "weights cut short": ("merged", lambda folder: (folder / "model.safetensors").write_bytes(b"12345678"), "no safetensors file, or cut"),
    "another base": ("adapter", edit("adapter_config.json", BASE_ID, "somebody/else"), "puts the adapter on the base somebody/else"),
    "another adapter": ("adapter", other_adapter, "adapter_model.safetensors is not the adapter of model short"),
    "no stop token beside": ("adapter", no_stop, "lacks the stop token <|im_end|>"),
    "another alpha": ("adapter", edit("adapter_config.json", '"lora_alpha": 8', '"lora_alpha": 80'), "its weights are not the model's"),
    "no adapter": (
        "adapter",
        lambda folder: (folder / "adapter_model.safetensors").unlink(),
        "adapter_model.safetensors of the export can't be read (No such file or directory): copy the whole folder",
    ),
    "template in latin-1": (
        "merged",
        lambda folder: (folder / "chat_template.jinja").write_bytes("{# café #}".encode("latin-1")),
        "chat_template.jinja can't be read as UTF-8",
    ),
    "weights cut": ("merged", lambda folder: cut(folder / "model.safetensors"), "model.safetensors is damaged: its tensors take"),
    "other header": ("merged", lambda folder: edit_header(folder / "model.safetensors"), "model.safetensors is damaged: its header"),
    "no record": ("adapter", lambda folder: (folder / "export.json").unlink(), "holds no export.json"),
}


def test_float32_weights_are_held_against_a_model_that_computes_in_bfloat16(part: Part, exported: Path, tmp_path: Path) -> None:
    # Given a machine that computes in bfloat16, a base in float32, and its merged export
    model = TransformersEngine(str(part.base), device="cpu", dtype="bfloat16").model_of(part.model.adapter)
    # Then what bfloat16 rounds is no difference
    found = tensors.compare(model, exported / "merged", part.base)
    assert (found.wrong, found.compared > 0, found.worst > 1e-4) == ([], True, True)
    # And a layer that was not merged is one all the same
    folder = shutil.copytree(exported / "merged", tmp_path / "unmerged")
    base = load_file(part.base / "model.safetensors")
    change_tensor(folder, LAYER, base[LAYER])
    assert tensors.compare(model, folder, part.base).of_base == [LAYER]


@pytest.fixture(scope="module")
def experts(place: Path) -> Path:
    """A base whose experts lie in one tensor in memory, and apart in its files."""
    fast = build_tokenizer()
    tokens = {"bos_token_id": fast.bos_token_id, "eos_token_id": fast.eos_token_id, "pad_token_id": fast.pad_token_id}
    sizes = {"hidden_size": 32, "moe_intermediate_size": 16, "num_hidden_layers": 2, "num_experts": 4, "num_experts_per_tok": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512}
    write_random_model(Qwen3MoeConfig(vocab_size=len(fast), **sizes, **heads, **tokens), place / "experts")
    fast.save_pretrained(place / "experts")
    return place / "experts"


def test_experts_that_are_one_tensor_in_memory_are_compared_as_they_are_stored(experts: Path, tmp_path: Path) -> None:
    # Given a model of experts, tuned in its attention, and its merged export
    part = part_of(experts, tune_attention(experts, tmp_path / "tuned"))
    out = tmp_path / "out"
    written(part, out)
    # Then each of its tensors is compared
    stored = load_file(out / "model.safetensors")
    expert = "model.layers.0.mlp.experts.2.up_proj.weight"
    found = checked(part, out)
    assert (found["tensors"]["compared"], found["same_summaries"]) == (len(stored), ROWS)
    # And another expert is named, as is one that is not there
    change_tensor(out, expert, stored[expert] * 1.5)
    with pytest.raises(UserError, match=f"{expert} of model.safetensors is not the original's"):
        checked(part, out)
    save_file({name: each for name, each in stored.items() if name != expert}, out / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=f"model.safetensors lacks {expert}"):
        checked(part, out)


def tune_attention(base: Path, folder: Path) -> Path:
    """Write an adapter with random weights for the attention alone; return it."""
    wanted = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), wanted).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("computed", ["float32", "bfloat16"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_a_layer_that_was_tuned_less_than_bfloat16_allows_to_differ_is_told_from_the_bases(
    tmp_path: Path, stored: str, computed: Literal["float32", "bfloat16"]
) -> None:
    # Given a base of either type, and an adapter that moves each layer by some thousandth
    base, tuned = build_tiny_model(tmp_path / "base"), tmp_path / "tuned"
    weights = load_file(base / "model.safetensors")
    save_file({name: each.to(getattr(torch, stored)) for name, each in weights.items()}, base / "model.safetensors", {"format": "pt"})
    edit("config.json", '"float32"', f'"{stored}"')(base)
    build_tiny_adapter(base, tuned)
    factors = load_file(tuned / "adapter_model.safetensors")
    save_file({name: each * (1e-3 if "lora_B" in name else 1) for name, each in factors.items()}, tuned / "adapter_model.safetensors")
    part = part_of(base, tuned)
    written(part, tmp_path / "out")
    model = TransformersEngine(str(base), device="cpu", dtype=computed).model_of(tuned)
    # Then its export is the same model
    found = tensors.compare(model, tmp_path / "out", base)
    assert found.wrong == []
    # And with one layer put back to the base's it is not, though the whole layer is nearer than rounding allows
    change_tensor(tmp_path / "out", LAYER, load_file(base / "model.safetensors")[LAYER])
    found = tensors.compare(model, tmp_path / "out", base)
    assert found.wrong == found.of_base == [LAYER]
    assert found.worst < 5e-3


@pytest.mark.parametrize("damage", BROKEN)
def test_a_folder_that_somebody_changed_is_refused_by_name(part: Part, exported: Path, tmp_path: Path, damage: str) -> None:
    kind, change, sentence = BROKEN[damage]
    folder = exported / damage.replace(" ", "-")
    shutil.copytree(exported / kind, folder)
    change(folder)
    with pytest.raises(UserError) as raised:
        checked(part, folder)
    assert sentence in str(raised.value)


def test_configs_are_read_by_programs_with_an_earlier_transformers(exported: Path) -> None:
    config = json.loads((exported / "merged" / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10000.0
    assert config["torch_dtype"] == config["dtype"] == "float32"
    tokenizer = json.loads((exported / "merged" / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["chat_template"] == (exported / "merged" / "chat_template.jinja").read_text()


def test_no_path_of_this_machine_is_in_an_export(exported: Path, place: Path) -> None:
    for kind in ("merged", "adapter"):
        for path in (exported / kind).glob("*.json"):
            assert path.name == "export.json" or str(place) not in path.read_text(), path.name
