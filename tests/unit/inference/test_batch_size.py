"""How many prompts the in-process engine decodes together, and what it does when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from schemas.payloads import Stage
from tests.support.tiny_model import build_tiny_model
from workers.inference.engine import EngineError, Sampling
from workers.inference.local import batch_size
from workers.inference.local.batch_size import MOST_ROWS, BatchSize, fitting_rows
from workers.inference.local.engine import TransformersEngine
from workers.text.prompts import tuned

PROMPTS = [
    tuned(f"The bus number {number} was late again, " + "and I missed my train " * (number % 3), Stage.SUMMARY) for number in range(9)
]
LLAMA_8B = LlamaConfig(
    hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, intermediate_size=14_336, vocab_size=128_256
)
GB = 10**9


class Memory:
    """A machine on which `rows` rows fit and no more, as the model's own forward pass finds out."""

    def __init__(self, engine: TransformersEngine) -> None:
        forward = engine._model.forward
        self.rows = 1000
        self.seen: list[int] = []

        @wraps(forward)  # `generate` reads its signature to know what the model takes
        def limited(*arguments: Any, **options: Any) -> Any:
            rows = len(options["input_ids"])
            self.seen.append(rows)
            if rows > self.rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(*arguments, **options)

        engine._model.forward = limited


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[TransformersEngine, Memory]:
    engine = TransformersEngine(str(build_tiny_model(tmp_path_factory.mktemp("base"))), device="cpu", dtype="float32", batch_size=8)
    return engine, Memory(engine)


@pytest.fixture
def engine(built: tuple[TransformersEngine, Memory]) -> Iterator[TransformersEngine]:
    yield built[0]
    built[0]._batches = BatchSize(8, "cpu")
    built[1].rows = 1000


@pytest.mark.parametrize(("beams", "fitting"), [(1, 3), (1, 1), (2, 6)], ids=["greedy", "one by one", "beams"])
def test_out_of_memory_halves_the_batch_until_it_fits_and_every_prompt_is_answered_as_before(
    engine: TransformersEngine, built: tuple[TransformersEngine, Memory], beams: int, fitting: int
) -> None:
    _, memory = built
    sampling = Sampling(8, num_beams=beams, num_return_sequences=beams)
    expected = engine.generate(PROMPTS, sampling)
    memory.rows, memory.seen = fitting, []
    steps: list[int] = []
    assert engine.generate(PROMPTS, sampling, on_progress=steps.append) == expected
    assert sum(steps) == len(PROMPTS), "each is done once"
    assert max(memory.seen) > fitting
    memory.seen = []
    engine.generate(PROMPTS, sampling)
    assert max(memory.seen) <= fitting, "what was found out holds for what comes after"


def test_memory_that_does_not_hold_one_prompt_is_an_error_of_the_machine(
    engine: TransformersEngine, built: tuple[TransformersEngine, Memory]
) -> None:
    built[1].rows = 0
    with pytest.raises(EngineError, match="one tweet at a time"):
        engine.generate(PROMPTS, Sampling(8))


def test_another_error_is_raised_as_it_is(
    engine: TransformersEngine, built: tuple[TransformersEngine, Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(engine._model, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        engine.generate(PROMPTS, Sampling(8))


def test_rows_follow_from_the_cache_of_a_prompt() -> None:
    # 8B in bfloat16: 131,072 bytes of cache a token, 1 MB of logits a row
    a_row = 131_072 * 200 + 8 * 128_256
    assert fitting_rows(60 * GB, LLAMA_8B, 2, longest=200, beams=1) == min(MOST_ROWS, 30 * GB // a_row) == MOST_ROWS
    assert fitting_rows(6 * GB, LLAMA_8B, 2, longest=200, beams=1) == 3 * GB // a_row == 110
    assert fitting_rows(6 * GB, LLAMA_8B, 2, longest=200, beams=6) == 3 * GB // (6 * (2 * 131_072 * 200 + 8 * 128_256)) == 9
    assert fitting_rows(1000, LLAMA_8B, 2, longest=4000, beams=6) == 1


def test_a_gpu_is_asked_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size.torch.cuda, "mem_get_info", lambda: (5 * GB, 24 * GB))
    monkeypatch.setattr(batch_size.torch.cuda, "memory_reserved", lambda: 2 * GB)
    monkeypatch.setattr(batch_size.torch.cuda, "memory_allocated", lambda: GB)
    model = SimpleNamespace(config=LLAMA_8B, dtype=torch.bfloat16)
    sizes = BatchSize(64, "cuda")
    assert sizes.of(model, 200, 1) == (110, 110 * 200)
    sizes.halve()
    assert sizes.of(model, 200, 1) == (55, 55 * 200)
    assert BatchSize(64, "cpu").of(model, 200, 1)[0] == 64
