"""What an evaluation sets side by side."""

from __future__ import annotations

import pytest

from schemas.payloads import Stage
from tests.support.tiny_model import build_tiny_model
from workers.evaluation.systems import SYSTEMS, HeldBackRow, write
from workers.inference.local.engine import TransformersEngine

ROWS = [
    HeldBackRow("1", "the bus was late again #fail", "The bus was late again."),
    HeldBackRow("2", "soup!! @ noon", "There is soup at noon."),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TransformersEngine:
    return TransformersEngine(str(build_tiny_model(tmp_path_factory.mktemp("base"))), device="cpu", dtype="float32")


def systems(engine: TransformersEngine, shots: list[tuple[str, str]]) -> tuple[str, ...]:
    written = write(engine, None, ROWS, shots, Stage.SUMMARY, lambda system: None)
    assert all(len(outputs) == len(ROWS) for outputs in written.outputs.values())
    return tuple(written.outputs)


def test_every_system_answers_every_row(engine: TransformersEngine) -> None:
    assert systems(engine, [("so tired", "I am tired.")]) == SYSTEMS


def test_without_examples_to_show_the_base_is_not_scored_as_if_it_had_seen_some(engine: TransformersEngine) -> None:
    assert systems(engine, []) == tuple(name for name in SYSTEMS if name != "few_shot")
