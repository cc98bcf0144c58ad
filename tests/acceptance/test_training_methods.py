"""Each method trains on real ranks, goes on from a checkpoint, and leaves a model that the engine answers with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.chat import Message
from tests.support.ranks import a_spec, train, write_train_file
from workers.base_models.files import BaseRecord
from workers.inference.engine import Sampling
from workers.inference.local.engine import TransformersEngine

PROMPT = (Message("system", "Summarize the tweet."), Message("user", "bus train sister!!"))


@pytest.fixture(scope="module")
def engine(base: Path) -> TransformersEngine:
    return TransformersEngine(str(base), device="cpu", dtype="float32")


@pytest.mark.parametrize(
    "recipe",
    [
        {"method": "full", "learning_rate": 5e-3},
        {"method": "freeze", "freeze_trainable_layers": 1, "world_size": 1},
        {"method": "expand", "expand_layers": 1, "zero_stage": 3},
        {"method": "qlora", "world_size": 1},
    ],
    ids=lambda recipe: recipe["method"],
)
def test_a_method_trains_resumes_and_is_served(recipe: dict[str, Any], base: Path, engine: TransformersEngine, tmp_path: Path) -> None:
    # Given a training on real ranks, with a checkpoint half-way
    train_file = write_train_file(tmp_path / "train.jsonl", 24)
    spec = a_spec(base, dtype="float32", max_steps=8, save_steps=6, **recipe)
    result, run = train(spec, train_file, tmp_path / "run")
    assert run.steps[8] < run.steps[1] * 0.9, "it learns"
    # When it goes on from there
    resumed, _ = train(spec, train_file, tmp_path / "again", attempt=2, resume_from=run.payload.checkpoints / "step-000006-a1")
    # Then the same weights come out
    assert (resumed.resumed_from, resumed.sha256) == (6, result.sha256)
    # And a warm engine answers otherwise with them than without, and knows their base
    without, tuned = (engine.generate([PROMPT], Sampling(max_new_tokens=8), each) for each in (None, result.adapter))
    assert tuned != without
    record = BaseRecord.read(result.adapter)
    assert record is not None
    assert record.sha256 == result.base_sha256
