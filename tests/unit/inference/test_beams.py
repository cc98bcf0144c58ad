"""Beams read a prompt once between them, and come out as they do where each reads it alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from schemas.chat import Message
from tests.support.model_families import FAMILIES, build_family
from workers.base_models.chat_template import chat_format
from workers.inference.engine import Sampling
from workers.inference.local.columns import ColumnsLayer
from workers.inference.local.engine import TransformersEngine

TEXTS = ("The bus was late again", "Is the library open?", "My sister won 3 medals in Oslo and then we all had soup because it rained.")
PROMPTS = [(Message("system", "Summarize the tweet."), Message("user", text)) for text in TEXTS]
BEAMS = 3
SAMPLING = Sampling(max_new_tokens=8, num_beams=BEAMS, num_return_sequences=BEAMS)


@pytest.fixture(scope="module", params=list(FAMILIES))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TransformersEngine:
    folder: Path = build_family(request.param, tmp_path_factory.mktemp("base"))
    return TransformersEngine(str(folder), device="cpu", dtype="float32")


def generated_alone(engine: TransformersEngine) -> list[tuple[str, ...]]:
    """What `generate` writes for one prompt at a time, without a cache that was filled before."""
    tokenizer, model = engine._tokenizer, engine._model
    texts = []
    for prompt in PROMPTS:
        ids = torch.tensor([chat_format(tokenizer).prompt_ids(prompt)])
        rows = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=SAMPLING.max_new_tokens,
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            eos_token_id=sorted(engine._end_ids),
            pad_token_id=min(engine._end_ids),
        )
        texts.append(tuple(tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True).strip() for row in rows))
    return texts


def test_they_write_what_generate_writes_for_each_prompt_alone(engine: TransformersEngine) -> None:
    assert [generation.texts for generation in engine.generate(PROMPTS, SAMPLING)] == generated_alone(engine)


def test_a_prompt_is_read_once_and_not_by_each_of_its_beams(engine: TransformersEngine) -> None:
    read: list[tuple[int, ...]] = []
    hook = engine._model.register_forward_pre_hook(lambda _, __, given: read.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    try:
        engine.generate(PROMPTS, SAMPLING)
    finally:
        hook.remove()
    assert read[0][0] == len(PROMPTS)
    assert set(read[1:]) == {(BEAMS * len(PROMPTS), 1)}


def test_beams_of_models_without_a_window_are_written_in_place(tmp_path: Path) -> None:
    engine = TransformersEngine(str(build_family("llama", tmp_path)), device="cpu", dtype="float32")
    caches: list[object] = []
    hook = engine._model.register_forward_pre_hook(lambda _, __, given: caches.append(given["past_key_values"]), with_kwargs=True)
    try:
        engine.generate(PROMPTS, SAMPLING)
    finally:
        hook.remove()
    assert {type(layer) for layer in caches[-1].layers} == {ColumnsLayer}  # type: ignore[attr-defined]
