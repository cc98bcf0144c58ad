"""llama.cpp reads the same prompts as the same tokens, finds the same likely, stops where the model does, and shows what is broken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.gguf_models import GGUF_FAMILIES, build_for_gguf, change_tensor
from workers.exports.engines.engine import CannotLoad, Options
from workers.exports.engines.llama_cpp import LlamaCpp, load
from workers.exports.gguf.quantization import Quant
from workers.exports.gguf.writing import write_gguf

TEXTS = [
    "The bus was late again 😀👍🏽 ok",
    "a\n\n b\t c   d  ",
    "12345 67,8.9 in 2026",
    "It's we'RE, don’t; naïve café ½²",
    "< |im_end|> and < |im_start|>system\nobey",
    "日本語 العربية",
    "\n\n\nx\r\ny",
]
NATS = 0.002
"""By how much llama.cpp's float16 cache of keys and values may change what is likely; a tie is decided within about its root."""


class Original:
    """A merged folder in transformers, in float32."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def prompt(self, text: str) -> tuple[str, list[int]]:
        shown = self.tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        return shown, self.tokenizer(shown, add_special_tokens=False)["input_ids"]

    def likely(self, ids: Sequence[int], answer: Sequence[int]) -> Any:
        import torch

        with torch.inference_mode():
            logits = self.model(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1]
        return torch.log_softmax(logits, dim=-1).numpy()

    def greedy(self, ids: Sequence[int], tokens: int) -> list[int]:
        written: list[int] = []
        for _ in range(tokens):
            written.append(int(self.likely(ids, [*written, 0])[-1].argmax()))
        return written


def exported(merged: Path, quant: Quant = "f16") -> LlamaCpp:
    place = merged.with_name(f"{merged.name}-{quant}")
    place.mkdir(exist_ok=True)
    write_gguf(merged, place / "model.gguf", quant)
    return load(place, Options())


def divergence(original: Original, engine: LlamaCpp, ids: Sequence[int], answer: Sequence[int]) -> float:
    mine = original.likely(ids, answer)
    theirs = engine.log_probabilities(ids, answer)
    assert theirs is not None
    return float((np.exp(mine) * (mine - theirs)).sum(axis=1).max())


@pytest.mark.parametrize("family", GGUF_FAMILIES)
def test_llama_cpp_answers_as_transformers_does(tmp_path: Path, family: str) -> None:
    # Given a model of the family in both
    merged = build_for_gguf(family, tmp_path / family)
    original, engine = Original(merged), exported(merged)
    # Then llama.cpp's own template and tokenizer write and read the same, whatever the text
    for text in TEXTS:
        shown, ids = original.prompt(text)
        assert engine.prompt_text([{"role": "user", "content": text}]) == shown
        assert engine.prompt_ids(shown) == ids
    # And it writes the same tokens, but where two are as likely
    _, ids = original.prompt(TEXTS[0])
    written = original.greedy(ids, 8)
    theirs = list(engine.answer(ids, 8).ids)
    if theirs != written:
        parted = next(place for place, (mine, other) in enumerate(zip(written, theirs, strict=False)) if mine != other)
        best = np.sort(original.likely(ids, written)[parted])[-2:]
        assert best[1] - best[0] < NATS**0.5, f"token {parted + 1} is another, and no tie"
    assert divergence(original, engine, ids, written) < NATS


@pytest.mark.parametrize("quant", ["q8_0", "q4_0", "q4_k_m"])
def test_llama_cpp_loads_each_quant_and_is_off_by_a_little(tmp_path: Path, quant: Quant) -> None:
    # Given rows of 256, which K-quants need
    merged = build_for_gguf("llama", tmp_path / "m", scale=0.2, hidden_size=256, intermediate_size=256, head_dim=64, num_hidden_layers=2)
    original, engine = Original(merged), exported(merged, quant)
    _, ids = original.prompt(TEXTS[0])
    written = original.greedy(ids, 3)
    # Then it finds nearly the same likely
    assert divergence(original, engine, ids, written) < {"q8_0": 0.005, "q4_0": 0.3, "q4_k_m": 0.3}[quant]


def test_positions_scaled_as_llama_3_does_are_the_same(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    merged = build_for_gguf("llama", tmp_path / "m", rope_parameters=rope | {"original_max_position_embeddings": 64})
    original, engine = Original(merged), exported(merged)
    _, ids = original.prompt("one two three " * 12)
    assert divergence(original, engine, ids, original.greedy(ids, 2)) < NATS


def test_it_stops_where_the_file_says_and_runs_on_where_it_does_not(tmp_path: Path) -> None:
    # Given a model whose answers end with a token of its own
    merged = build_for_gguf("llama", tmp_path / "m")
    original = Original(merged)
    _, ids = original.prompt(TEXTS[0])
    end = original.greedy(ids, 3)[2]
    without = exported(merged).answer(ids, 6)
    config = merged / "tokenizer_config.json"
    token = original.tokenizer.convert_ids_to_tokens(end)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token": token}))
    # When the file names it, then its answer ends there
    answer = exported(merged).answer(ids, 6)
    assert (answer.ended, len(answer.ids)) == (True, 2)
    # And one that does not name it runs on
    assert (without.ended, len(without.ids)) == (False, 6)


def test_a_layer_of_another_model_is_seen_in_the_probabilities(tmp_path: Path) -> None:
    merged = build_for_gguf("llama", tmp_path / "m")
    original = Original(merged)
    _, ids = original.prompt(TEXTS[0])
    change_tensor(merged, "model.layers.1.mlp.down_proj.weight", 0.1)
    assert divergence(original, exported(merged), ids, original.greedy(ids, 3)) > NATS


def test_a_changed_template_writes_another_prompt(tmp_path: Path) -> None:
    merged = build_for_gguf("llama", tmp_path / "m")
    shown, _ = Original(merged).prompt("hello")
    template = merged / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant\\n", "assistant").replace("assistant\n", "assistant"))
    assert exported(merged).prompt_text([{"role": "user", "content": "hello"}]) == shown.removesuffix("\n")


def test_a_template_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    # Given a file whose template somebody broke
    path = write_gguf(build_for_gguf("llama", tmp_path / "m"), tmp_path / "model.gguf", "f16").path
    path.write_bytes(path.read_bytes().replace(b"{% for message", b"{% fxr message"))
    with pytest.raises(CannotLoad, match=r"does not load model\.gguf: .* its chat template can't be read"):
        load(tmp_path, Options())


def test_a_file_that_is_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    merged = build_for_gguf("llama", tmp_path / "m")
    path = write_gguf(merged, tmp_path / "model.gguf", "f16").path
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CannotLoad, match=r"llama\.cpp by xllamacpp .* does not load model\.gguf"):
        load(tmp_path, Options())


def test_a_folder_without_one_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotLoad, match="holds 0 GGUF files"):
        load(tmp_path, Options())
