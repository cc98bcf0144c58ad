"""What an evaluation sets side by side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.payloads import Stage
from tests.support.tiny_model import build_tiny_model
from workers.evaluation.systems import SYSTEMS, HeldBackRow, write
from workers.inference import engines
from workers.inference.writer import Part, Writer

ROWS = [
    HeldBackRow("1", "the bus was late again #fail", ("The bus was late again.",)),
    HeldBackRow("2", "soup!! @ noon", ("There is soup at noon.",)),
]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    yield Writer(str(build_tiny_model(tmp_path_factory.mktemp("base"))), (Part(None, Stage.SUMMARY),))
    engines._warm.clear()


def systems(writer: Writer, shots: list[tuple[str, str]]) -> tuple[str, ...]:
    written = write(writer, ROWS, shots, lambda system: None)
    assert all(len(outputs) == len(ROWS) for outputs in written.outputs.values())
    return tuple(written.outputs)


def test_every_system_answers_every_row(writer: Writer) -> None:
    assert systems(writer, [("so tired", "I am tired.")]) == SYSTEMS


def test_without_examples_to_show_the_base_is_not_scored_as_if_it_had_seen_some(writer: Writer) -> None:
    assert systems(writer, []) == tuple(name for name in SYSTEMS if name != "few_shot")
