"""Each method trains on real ranks, goes on from a checkpoint, and leaves a model that the engine answers with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.chat import Message
from tests.support.rank_series import losses, result, train_all
from tests.support.ranks import a_spec, write_train_file
from workers.base_models.files import BaseRecord
from workers.inference.engine import Sampling
from workers.inference.local.engine import TransformersEngine
from workers.training.protocol.payload import RunPayload

RECIPES: tuple[dict[str, Any], ...] = (
    {"method": "full", "learning_rate": 5e-3},
    {"method": "freeze", "freeze_trainable_layers": 1, "world_size": 1},
    {"method": "expand", "expand_layers": 1, "zero_stage": 3},
    {"method": "qlora", "world_size": 1},
)
PROMPT = (Message("system", "Summarize the tweet."), Message("user", "bus train sister!!"))


@pytest.fixture(scope="module")
def engine(base: Path) -> TransformersEngine:
    return TransformersEngine(str(base), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[RunPayload, RunPayload]]:
    """For each method a training with a checkpoint at step 6 of 8, and one that goes on from there; one group of ranks for each size."""
    folder = tmp_path_factory.mktemp("methods")
    train_file = write_train_file(folder / "train.jsonl", 24)
    runs: dict[str, tuple[RunPayload, RunPayload]] = {}
    for recipe in RECIPES:
        spec = a_spec(base, dtype="float32", max_steps=8, save_steps=6, **recipe)
        first = RunPayload(spec=spec, train_file=train_file, run_folder=folder / spec.method / "run")
        kept = first.checkpoints / "step-000006-a1"
        runs[spec.method] = (
            first,
            first.model_copy(update={"run_folder": folder / spec.method / "again", "attempt": 2, "resume_from": kept}),
        )
    for ranks in (1, 2):
        (folder / str(ranks)).mkdir()
        train_all([run for pair in runs.values() for run in pair if run.spec.world_size == ranks], folder / str(ranks), ranks)
    return runs


@pytest.mark.parametrize("method", [recipe["method"] for recipe in RECIPES])
def test_a_method_trains_resumes_and_is_served(method: str, trained: dict[str, Any], base: Path, engine: TransformersEngine) -> None:
    # Given a training on real ranks, with a checkpoint half-way
    run, again = trained[method]
    made = result(run)
    assert losses(run)[8] < losses(run)[1] * 0.9, "it learns"
    # When it went on from there
    resumed = result(again)
    # Then the same weights came out
    assert (resumed.resumed_from, resumed.sha256) == (6, made.sha256)
    assert min(losses(again)) == 7
    # And a warm engine answers otherwise with them than without, and knows their base
    without, tuned = (engine.generate([PROMPT], Sampling(max_new_tokens=8), each) for each in (None, made.adapter))
    assert tuned != without
    record = BaseRecord.read(made.adapter)
    assert record is not None
    assert record.sha256 == made.base_sha256
