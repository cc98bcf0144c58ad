"""An export answers as the original, and each way in which a folder can be another model is refused with a sentence that names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.support.exported import BASE_ID, ROWS, checked, part_of, written
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
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
