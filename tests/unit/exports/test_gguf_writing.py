"""A GGUF file holds each tensor of the merged model within what its type allows, is the same each time, and refuses what would differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import libgguf
import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.torch import load_file, save_file

from tests.support.gguf_models import GGUF_FAMILIES, build_for_gguf, change_config, change_tensor
from tests.support.model_families import build_family
from workers.base_models.chat_template import UnusableTemplate
from workers.exports.gguf import writing
from workers.exports.gguf.architectures import NotExportable, architecture_of
from workers.exports.gguf.comparison import NotTheSame, compare_with_source
from workers.exports.gguf.quantization import QUANTS, Quant, decode, encode
from workers.exports.gguf.weights import MergedWeights
from workers.exports.gguf.writing import write_gguf


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 256, which K-quants need, with biases on queries and keys."""
    wide = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64, "attention_bias": True, "num_hidden_layers": 2}
    return build_for_gguf("llama", tmp_path_factory.mktemp("llama") / "merged", **wide)


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    return build_for_gguf("llama", tmp_path / "merged", num_hidden_layers=1)


@pytest.mark.parametrize("family", GGUF_FAMILIES)
def test_each_tensor_of_each_family_is_in_the_file(tmp_path: Path, family: str) -> None:
    folder = build_for_gguf(family, tmp_path / family)
    written = write_gguf(folder, tmp_path / "model.gguf", "f16")
    found = compare_with_source(written.path, folder)
    assert found.tensors == sum(written.types.values())
    assert found.nearest <= 1


@pytest.mark.parametrize(
    ("quant", "kinds"), [("f16", {"F16"}), ("q8_0", {"Q8_0"}), ("q4_0", {"Q4_0", "Q8_0"}), ("q4_k_m", {"Q4_K", "Q6_K"})]
)
def test_each_quant_keeps_every_value_within_its_step(llama: Path, tmp_path: Path, quant: Quant, kinds: set[str]) -> None:
    written = write_gguf(llama, tmp_path / "model.gguf", quant)
    assert set(written.types) == kinds | {"F32"}, "vectors stay as they are"
    assert 0.0 <= compare_with_source(written.path, llama).nearest <= 1


@pytest.mark.parametrize("quant", QUANTS)
def test_each_tensor_has_the_bytes_that_libgguf_writes_for_the_same_rows_and_both_read_them_alike(
    llama: Path, tmp_path: Path, quant: Quant
) -> None:
    # Given weights as training leaves them: with rows of zeros, of one value, of hardly any, and with one value far larger than the rest
    folder = Path(shutil.copytree(llama, tmp_path / "model"))
    shape_rows(folder, "model.layers.0.mlp.down_proj.weight")
    shape_rows(folder, "model.layers.1.mlp.up_proj.weight")
    written = write_gguf(folder, tmp_path / "model.gguf", quant)
    compared = same_as_libgguf(written.path, folder)
    assert compared == set(written.types) - {"F32"}


def test_small_blocks_have_the_bytes_that_libgguf_writes_for_the_same_rows(merged: Path, tmp_path: Path) -> None:
    assert same_as_libgguf(write_gguf(merged, tmp_path / "model.gguf", "q4_k_m").path, merged) == {"Q5_0", "Q8_0"}


def shape_rows(folder: Path, name: str) -> None:
    """Give the first rows of a tensor the shapes at which ways of quantising differ."""
    weights = load_file(folder / "model.safetensors")
    rows = weights[name]
    rows[0], rows[1], rows[2] = 0.0, 0.5, rows[2] * 1e-5
    rows[3, 7], rows[4] = 50.0, -rows[4].abs()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def same_as_libgguf(path: Path, folder: Path) -> set[str]:
    """Hold each matrix of a file against what libgguf writes for the float32 rows of its source; return the types that were held."""
    config = json.loads((folder / "config.json").read_text())
    weights = MergedWeights(folder, config, architecture_of(config))
    tensors = {str(tensor.name): tensor for tensor in GGUFReader(path).tensors}
    held = set()
    for weight in weights.weights:
        tensor = tensors[weight.name]
        kind = tensor.tensor_type.name
        if kind != "F32":
            rows = np.ascontiguousarray(np.concatenate(list(weights.chunks(weight))))
            expected = libgguf.quantize_rows(rows, libgguf.GGMLQuantizationType[kind])
            assert tensor.data.tobytes() == expected.tobytes(), f"{weight.name} as {kind}"
            if kind != "F16":  # which is read as any float16 is
                read = libgguf.dequantize_rows(expected, libgguf.GGMLQuantizationType[kind])
                assert np.array_equal(decode(tensor.data, kind), read.reshape(rows.shape)), f"{weight.name} as {kind}, read"
            held.add(kind)
    return held


def test_smaller_quants_make_smaller_files(llama: Path, tmp_path: Path) -> None:
    sizes = {quant: write_gguf(llama, tmp_path / f"{quant}.gguf", quant).bytes for quant in QUANTS}
    assert sizes["f16"] > sizes["q8_0"] > sizes["q4_k_m"] > sizes["q4_0"]


def test_rows_too_short_for_k_quants_get_small_blocks(merged: Path, tmp_path: Path) -> None:
    assert write_gguf(merged, tmp_path / "model.gguf", "q4_k_m").types.keys() == {"F32", "Q5_0", "Q8_0"}


def test_the_same_model_gives_the_same_bytes(llama: Path, tmp_path: Path) -> None:
    first = write_gguf(llama, tmp_path / "one.gguf", "q4_k_m")
    again = write_gguf(llama, tmp_path / "two.gguf", "q4_k_m")
    assert first.sha256 == again.sha256
    assert first.path.read_bytes() == again.path.read_bytes()


def test_a_changed_layer_is_named(merged: Path, tmp_path: Path) -> None:
    # Given a file of which one layer is not that of the model, as when it was not merged
    written = write_gguf(merged, tmp_path / "model.gguf", "q8_0")
    change_tensor(merged, "model.layers.0.mlp.up_proj.weight", 0.05)
    with pytest.raises(NotTheSame, match=r"blk\.0\.ffn_up\.weight of model\.gguf is not model\.layers\.0\.mlp\.up_proj\.weight"):
        compare_with_source(written.path, merged)


@pytest.mark.parametrize("quant", QUANTS)
def test_a_layer_that_lacks_its_adapter_is_seen_below_the_step_of_its_type(llama: Path, tmp_path: Path, quant: Quant) -> None:
    # Given a file whose model differs from another by a fiftieth of a layer's spread, which is less than four bits tell of a value
    written = write_gguf(llama, tmp_path / "model.gguf", quant)
    other = shutil.copytree(llama, tmp_path / "other")
    change_tensor(other, "model.layers.1.mlp.down_proj.weight", 0.01)
    with pytest.raises(NotTheSame, match=r"blk\.1\.ffn_down\.weight of model\.gguf is not"):
        compare_with_source(written.path, other)


def test_an_outlier_in_a_row_is_no_other_model(tmp_path: Path) -> None:
    # Given rows of which one value is far larger than the rest, as in trained models
    folder = build_for_gguf("llama", tmp_path / "m", hidden_size=256, intermediate_size=256, head_dim=64, num_hidden_layers=1)
    change_tensor(folder, "model.layers.0.mlp.down_proj.weight", 50.0, one=True)
    for quant in QUANTS:
        assert compare_with_source(write_gguf(folder, tmp_path / f"{quant}.gguf", quant).path, folder).nearest <= 1


def test_a_file_of_another_model_is_seen(merged: Path, tmp_path: Path) -> None:
    written = write_gguf(merged, tmp_path / "model.gguf", "f16")
    other = build_for_gguf("llama", tmp_path / "other", num_hidden_layers=2)
    with pytest.raises(NotTheSame, match=r"lacks blk\.1\."):
        compare_with_source(written.path, other)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"


@pytest.mark.parametrize("damage", [lambda content: content[:-2000], lambda content: content[:40], lambda _: POINTER, lambda _: b""])
def test_a_file_that_is_none_or_cut_short_is_refused_by_name(merged: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write_gguf(merged, tmp_path / "model.gguf", "f16").path
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(NotTheSame, match=r"model\.gguf is no GGUF file, cut short or damaged \(\d+ bytes\): copy it again"):
        compare_with_source(path, merged)


@pytest.mark.parametrize("kind", ["BF16", "Q4_1", "IQ4_NL"])
def test_a_file_that_another_program_quantised_anew_is_refused_by_its_type(
    merged: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a file whose matrices are of a type that no export has
    def written_anew(rows: np.ndarray, name: str) -> np.ndarray:
        return encode(rows, name) if name == "F32" else libgguf.quantize_rows(rows, libgguf.GGMLQuantizationType[name])

    monkeypatch.setattr(writing, "type_of", lambda _name, shape, *_, **__: "F32" if len(shape) < 2 else kind)
    monkeypatch.setattr(writing, "encode", written_anew)
    path = write_gguf(merged, tmp_path / "model.gguf", "f16").path
    # Then a comparison says which
    with pytest.raises(NotTheSame, match=rf"of model\.gguf is of the type {kind}, which no export has: .* --quant that you want"):
        compare_with_source(path, merged)


@pytest.mark.parametrize("family", ["phi3", "gpt2"])
def test_other_architectures_are_refused_by_name(tmp_path: Path, family: str) -> None:
    folder = build_family(family, tmp_path / family)
    with pytest.raises(NotExportable, match=f"architecture {family} can't be written as GGUF"):
        write_gguf(folder, tmp_path / "model.gguf", "f16")
    assert not list(tmp_path.glob("*.gguf"))
    assert not list(tmp_path.glob(".tweetmill*"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_act": "relu"}, "has the activation relu"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "positions are scaled as dynamic"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "turns a part of each head"),
        ({"num_hidden_layers": 2}, r"lacks blk\.1"),
        ({"tie_word_embeddings": False, "num_hidden_layers": 0}, "beyond the 0 layers|no place for the tensor"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(merged: Path, tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    change_config(merged, **changes)
    with pytest.raises(NotExportable, match=sentence):
        write_gguf(merged, tmp_path / "model.gguf", "f16")


def test_a_window_that_llama_cpp_has_not_bounds_the_context(tmp_path: Path) -> None:
    folder = build_for_gguf("mistral", tmp_path / "merged", sliding_window=64)
    assert write_gguf(folder, tmp_path / "model.gguf", "f16").context == 64


@pytest.mark.parametrize(
    ("pre_tokenizer", "sentence"),
    [
        ({"type": "Whitespace"}, r"no name in llama\.cpp \(Whitespace\)"),
        ({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, "no name in llama"),
    ],
)
def test_a_tokenizer_of_other_rules_is_refused(merged: Path, tmp_path: Path, pre_tokenizer: dict[str, object], sentence: str) -> None:
    path = merged / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pre_tokenizer": pre_tokenizer}))
    with pytest.raises(NotExportable, match=sentence):
        write_gguf(merged, tmp_path / "model.gguf", "f16")


def test_weights_beyond_float16_are_refused(merged: Path, tmp_path: Path) -> None:
    change_tensor(merged, "model.layers.0.mlp.up_proj.weight", 1e6)
    with pytest.raises(NotExportable, match="too large for f16: take q8_0"):
        write_gguf(merged, tmp_path / "model.gguf", "f16")


def test_a_model_without_a_template_is_refused(merged: Path, tmp_path: Path) -> None:
    (merged / "chat_template.jinja").unlink()
    with pytest.raises(UnusableTemplate, match="has no chat template"):
        write_gguf(merged, tmp_path / "model.gguf", "f16")
