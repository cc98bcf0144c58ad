"""Imported pairs: which of them become examples, and what is remembered of where they came from."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.payloads import ImportSource, SynthesisSpec
from workers.imports import file_of
from workers.synthesis.rows import ExampleRow, RejectedPair
from workers.synthesis.splits import Split


@dataclass(frozen=True)
class Imported:
    """A row of an imported file; `place` is where it stands there, such as `line 7`."""

    place: str
    prompt: str
    completion: str


def usable(imports: Sequence[Imported], spec: SynthesisSpec, counts: Counter[str]) -> tuple[list[Imported], list[RejectedPair]]:
    """As many rows as the recipe allows, drawn by its seed, each pair once; and those that say another one to the letter.

    Rows that are only alike stay: they share a cluster, so that the split never parts them.
    """
    if spec.imports is None:
        return [], []
    counts["imports"] = len(imports)
    first: dict[tuple[str, str], Imported] = {}
    refused = []
    for row in _drawn(imports, spec.imports.limit, spec.seed):
        earlier = first.setdefault((row.prompt, row.completion), row)
        if earlier is not row:
            refused.append(RejectedPair(_name(row, spec.imports), None, f"{earlier.place} says the same to the letter"))
    return list(first.values()), refused


def examples(
    rows: Sequence[Imported],
    clusters: Sequence[int],
    sides: Sequence[Split],
    spec: SynthesisSpec,
    refused: list[RejectedPair],
    counts: Counter[str],
) -> list[ExampleRow]:
    """The rows as examples, with their clusters and sides. One that no person wrote is not tested on: it goes to `refused`."""
    made: list[ExampleRow] = []
    if spec.imports is None:
        return made
    for row, cluster, side in zip(rows, clusters, sides, strict=True):
        if side == "test" and not spec.imports.human:
            counts["imports_withheld"] += 1
            refused.append(RejectedPair(_name(row, spec.imports), None, "near to a pair that is held back for the test"))
        else:
            made.append(ExampleRow(spec.stage, row.prompt, row.completion, "import", _lineage(row, spec.imports), side, cluster))
    counts["imports_used"] = len(made)
    return made


def _drawn(rows: Sequence[Imported], limit: int | None, seed: int) -> Sequence[Imported]:
    if limit is None or len(rows) <= limit:
        return rows
    chosen = random.Random(f"imports {seed}").sample(range(len(rows)), limit)
    return [rows[place] for place in sorted(chosen)]


def _name(row: Imported, source: ImportSource) -> str:
    return f"{file_of(source.file)[0]} {row.place}"


def _lineage(row: Imported, source: ImportSource) -> dict[str, object]:
    name, digest = file_of(source.file)
    known: dict[str, object] = {"file": name, "file_sha256": digest, "place": row.place, "form": source.form.value, "human": source.human}
    return known | ({"licence": source.licence} if source.licence else {})
