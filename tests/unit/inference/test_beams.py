"""Beams read a prompt once between them, and come out as they do where each reads it alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from schemas.chat import Message
from tests.support.model_families import FAMILIES, build_family
from workers.base_models.chat_template import chat_format
from workers.inference.engine import Sampling
from workers.inference.local.columns import ColumnsLayer, is_of_columns
from workers.inference.local.engine import TransformersEngine
from workers.inference.local.reading import KeptPrompts

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


@contextmanager
def shapes_of_calls(engine: TransformersEngine) -> Iterator[list[tuple[int, ...]]]:
    """What the model is given meanwhile: rows and columns of each call."""
    shapes: list[tuple[int, ...]] = []
    hook = engine._model.register_forward_pre_hook(lambda _, __, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    try:
        yield shapes
    finally:
        hook.remove()


def keeps(engine: TransformersEngine) -> bool:
    """Whether this family's layers hold all columns: those of a window that slides are not kept."""
    return is_of_columns(DynamicCache(config=engine._model.config))


def lengths(engine: TransformersEngine) -> list[int]:
    return [len(chat_format(engine._tokenizer).prompt_ids(prompt)) for prompt in PROMPTS]


def forget(engine: TransformersEngine) -> None:
    """Bring an engine to where it has read nothing yet."""
    assert engine._kept is not None
    engine._kept.clear()


def test_a_prompt_is_read_once_and_not_by_each_of_its_beams(engine: TransformersEngine) -> None:
    forget(engine)
    with shapes_of_calls(engine) as shapes:
        engine.generate(PROMPTS, SAMPLING)
    reading = [shape for shape in shapes if shape[1] > 1]
    assert sum(columns for _, columns in reading) <= max(lengths(engine)), "what they share is read by one row, the rest by three"
    assert [rows for rows, _ in reading] == ([1, len(PROMPTS)] if keeps(engine) else [len(PROMPTS)])
    assert set(shapes[len(reading) :]) == {(BEAMS * len(PROMPTS), 1)}


def test_a_second_try_reads_no_prompt_again_and_writes_the_same(engine: TransformersEngine) -> None:
    forget(engine)
    afresh = engine.generate(PROMPTS, SAMPLING)
    engine.generate(PROMPTS, Sampling(max_new_tokens=8))
    with shapes_of_calls(engine) as shapes:
        again = engine.generate(PROMPTS, SAMPLING)
    assert [generation.texts for generation in again] == [generation.texts for generation in afresh] == generated_alone(engine)
    if keeps(engine):
        assert set(shapes) == {(BEAMS * len(PROMPTS), 1)}


def test_prompts_that_were_read_stand_beside_others(engine: TransformersEngine) -> None:
    forget(engine)
    expected = generated_alone(engine)
    engine.generate(PROMPTS[1:2], Sampling(max_new_tokens=8))
    engine.generate(PROMPTS[2:], Sampling(max_new_tokens=8))
    assert [generation.texts for generation in engine.generate(PROMPTS, SAMPLING)] == expected


def test_what_was_read_is_let_go_when_it_takes_too_much_the_oldest_first(tmp_path: Path) -> None:
    engine = TransformersEngine(str(build_family("llama", tmp_path)), device="cpu", dtype="float32")
    ids = [chat_format(engine._tokenizer).prompt_ids(prompt) for prompt in PROMPTS]
    engine.generate(PROMPTS[:1], Sampling(max_new_tokens=8))
    assert engine._kept is not None
    one = engine._kept.bytes
    engine._kept = KeptPrompts(most_bytes=3 * one)
    there = []
    for prompt in PROMPTS:
        engine.generate([prompt], Sampling(max_new_tokens=8))
        assert 0 < engine._kept.bytes <= 3 * one
        there.append([tuple(prompt) in engine._kept for prompt in ids])
    assert there == [[True, False, False], [True, True, False], [False, False, True]], "the last is longer than the others together"


def test_a_batch_that_is_larger_than_all_that_may_be_kept_is_not_kept(tmp_path: Path) -> None:
    engine = TransformersEngine(str(build_family("llama", tmp_path)), device="cpu", dtype="float32")
    engine.generate(PROMPTS[:1], Sampling(max_new_tokens=8))
    assert engine._kept is not None
    one = engine._kept.bytes
    engine._kept = KeptPrompts(most_bytes=one)
    for prompts in (PROMPTS[:1], PROMPTS):
        engine.generate(prompts, Sampling(max_new_tokens=8))
    assert engine._kept.bytes == one, "nor does it drive out what was there"
    assert [generation.texts for generation in engine.generate(PROMPTS, SAMPLING)] == generated_alone(engine)


def test_beams_of_models_without_a_window_are_written_in_place(tmp_path: Path) -> None:
    engine = TransformersEngine(str(build_family("llama", tmp_path)), device="cpu", dtype="float32")
    caches: list[object] = []
    hook = engine._model.register_forward_pre_hook(lambda _, __, given: caches.append(given["past_key_values"]), with_kwargs=True)
    try:
        engine.generate(PROMPTS, SAMPLING)
    finally:
        hook.remove()
    assert {type(layer) for layer in caches[-1].layers} == {ColumnsLayer}  # type: ignore[attr-defined]
