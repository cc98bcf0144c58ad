"""Makes examples of imported pairs, and keeps where they came from."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.synthesis import ImportSource, SynthesisSpec
from workers.ingest.pair_files import file_of
from workers.synthesis.disk_rows import DiskRows
from workers.synthesis.rows import ExampleRow, RejectedPair
from workers.synthesis.split.holdout import Split
from workers.text.near_duplicates import Numbers


@dataclass(frozen=True)
class Imported:
    """A row of an imported file; `place` is where it stands there, such as `line 7`."""

    place: str
    prompt: str
    completion: str


def imports_on_disk(folder: Path | None = None) -> DiskRows[Imported]:
    """Imported rows on disk."""
    return DiskRows(lambda row: [row.place, row.prompt, row.completion], lambda cells: Imported(*cells), folder)


def usable(
    imports: Sequence[Imported], spec: SynthesisSpec, counts: Counter[str], rejected: DiskRows[RejectedPair], folder: Path | None = None
) -> Sequence[Imported]:
    """Select as many rows as the recipe allows, drawn by its seed, each pair once; those that say another one to the letter are rejected.

    Rows that are only alike stay: they share a cluster, so that the split never parts them.
    """
    if spec.imports is None:
        return ()
    counts["imports"] = len(imports)
    drawn = _drawn(len(imports), spec.imports.limit, spec.seed)
    digests = bytearray()
    for row in _those(imports, drawn):
        digests += hashlib.blake2b(f"{len(row.prompt)} {row.prompt}{row.completion}".encode(), digest_size=16).digest()
    _, first, inverse = np.unique(np.frombuffer(digests, "S16"), return_index=True, return_inverse=True)
    kept = imports_on_disk(folder)
    for number, (row, earliest) in enumerate(zip(_those(imports, drawn), first[inverse].tolist(), strict=True)):
        if number == earliest:
            kept.append(row)
        else:
            earlier = imports[int(drawn[earliest])].place
            rejected.append(RejectedPair(_name(row, spec.imports), None, f"{earlier} says the same to the letter"))
    return kept


def imported_examples(
    rows: Sequence[Imported],
    clusters: Numbers,
    held: NDArray[np.bool_],
    spec: SynthesisSpec,
    rejected: DiskRows[RejectedPair],
    counts: Counter[str],
) -> Iterator[ExampleRow]:
    """Yield the rows as examples, with their clusters and sides. One that no person wrote is not tested on: it is rejected."""
    if spec.imports is None:
        return
    stage = spec.imports.stage or spec.stages[0]
    counts["imports_used"] = 0
    for row, cluster in zip(rows, clusters.tolist(), strict=True):
        if held[cluster] and not spec.imports.human:
            counts["imports_withheld"] += 1
            rejected.append(RejectedPair(_name(row, spec.imports), None, "near to a pair that is held back for the test"))
        else:
            side: Split = "test" if held[cluster] else "train"
            counts["imports_used"] += 1
            yield ExampleRow(stage, row.prompt, row.completion, "import", _lineage(row, spec.imports), side, cluster)


def _drawn(number: int, limit: int | None, seed: int) -> NDArray[np.int64]:
    if limit is None or number <= limit:
        return np.arange(number)
    return np.sort(np.array(random.Random(f"imports {seed}").sample(range(number), limit)))


def _those(rows: Sequence[Imported], places: NDArray[np.int64]) -> Iterator[Imported]:
    """Yield the rows at these places, in one pass."""
    wanted = np.zeros(len(rows), bool)
    wanted[places] = True
    return (row for row, chosen in zip(rows, wanted.tolist(), strict=True) if chosen)


def _name(row: Imported, source: ImportSource) -> str:
    return f"{file_of(source.file)[0]} {row.place}"


def _lineage(row: Imported, source: ImportSource) -> dict[str, object]:
    name, digest = file_of(source.file)
    known: dict[str, object] = {"file": name, "file_sha256": digest, "place": row.place, "form": source.form.value, "human": source.human}
    return known | ({"licence": source.licence} if source.licence else {})
