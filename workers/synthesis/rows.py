"""Defines the rows of a dataset while it is built: examples, dropped examples, rejected pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from schemas.payloads import Stage
from workers.catalog.examples import fingerprints
from workers.synthesis.disk_rows import DiskRows
from workers.synthesis.split.holdout import Split

Origin = Literal["human", "noise", "teacher", "import"]

FLAGGED = "flagged"
"""In the lineage: what filters found in an example that was kept because a person wrote it."""


@dataclass(frozen=True)
class ExampleRow:
    """One example to learn from or to be tested on. `lineage` says what it was made of and how."""

    stage: Stage
    prompt_text: str
    target_text: str
    origin: Origin
    lineage: dict[str, object]
    split: Split
    cluster: int

    @property
    def example_key(self) -> str:
        """Its key in every dataset that holds it."""
        return fingerprints.example_key(self.stage.value, self.prompt_text, self.target_text, self.origin)


def flags_of(row: ExampleRow) -> list[str]:
    """Return what filters found in a person's example, of which each is one of `workers.catalog.examples.dropped_examples.REASONS`."""
    flags = row.lineage.get(FLAGGED, [])
    assert isinstance(flags, list)
    return flags


@dataclass(frozen=True)
class DroppedRow:
    """An example that filters kept out, and why."""

    row: ExampleRow
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class RejectedPair:
    """A pair that could not be used; `key` is its tweet's id, or the file and place of an imported one."""

    key: str
    field: str | None
    reason: str


def examples_on_disk(folder: Path | None = None) -> DiskRows[ExampleRow]:
    """Return an empty sequence of examples on disk."""
    return DiskRows(_cells, _row, folder)


def dropped_on_disk(folder: Path | None = None) -> DiskRows[DroppedRow]:
    """Return an empty sequence of dropped examples on disk."""
    return DiskRows(
        lambda dropped: [_cells(dropped.row), dropped.reasons], lambda cells: DroppedRow(_row(cells[0]), tuple(cells[1])), folder
    )


def rejected_on_disk(folder: Path | None = None) -> DiskRows[RejectedPair]:
    """Return an empty sequence of rejected pairs on disk."""
    return DiskRows(lambda pair: [pair.key, pair.field, pair.reason], lambda cells: RejectedPair(*cells), folder)


def _cells(row: ExampleRow) -> list[object]:
    return [row.stage.value, row.prompt_text, row.target_text, row.origin, row.lineage, row.split, row.cluster]


def _row(cells: list[Any]) -> ExampleRow:
    return ExampleRow(Stage(cells[0]), *cells[1:])
