"""Writes a dataset as files to train on, in the forms of `schemas.forms`, and enters it in LLaMA-Factory's `dataset_info.json`.

The same examples give the same bytes, whatever they are called and wherever they came from: rows stand in the order of their content's
MD5, which is as good as shuffled. They stream: memory does not grow with the dataset.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from schemas.forms import Form, PromptAndAnswer, dataset_info, write_row
from schemas.payloads import Stage
from workers import destinations
from workers.errors import UserError
from workers.text.instructions import TUNED_SYSTEM
from workers.text.spreadsheets import harmless

SPLITS = ("train", "test")
DATASET_INFO = "dataset_info.json"

_ROWS_AT_ONCE = 2_000
# A pair that two sources brought is one row. Postgres sorts on disk what its memory does not hold.
_ROWS = """
SELECT stage, prompt_text, target_text FROM example WHERE dataset = :dataset AND split = :split
GROUP BY stage, prompt_text, target_text
ORDER BY md5(prompt_text || chr(31) || target_text), prompt_text COLLATE "C", target_text COLLATE "C", stage
"""

ExportRow = tuple[PromptAndAnswer, str]
"""A pair and the instruction of its stage."""


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written."""

    file: Path
    split: str
    rows: int
    sha256: str


def write_dataset(
    session: Session, dataset: int, name: str, form: Form, folder: Path, splits: Iterable[str] = SPLITS, raw: bool = False
) -> list[ExportedFile]:
    """Write the splits of a dataset that hold anything to `NAME-SPLIT.jsonl` or `.csv` in a folder, and enter them in its index.

    Files are replaced as a whole or not at all.

    Raises:
        UserError: there is nothing to write, or the folder's `dataset_info.json` is not LLaMA-Factory's.
    """
    if folder.exists() and not folder.is_dir():
        raise destinations.DestinationError(f"{folder} is no folder: name one, there or new, for the files")
    folder.mkdir(parents=True, exist_ok=True)
    index = _index(folder / DATASET_INFO)
    written = []
    for split in splits:
        file = folder / f"{name}-{split}.{form.suffix}"
        found = write_file(file, form, _rows(session, dataset, split), raw)
        if found is not None:
            rows, digest = found
            written.append(ExportedFile(file, split, rows, digest))
            index[f"{name}-{split}"] = dataset_info(form, file.name)
    if not written:
        raise UserError(f"dataset {name}: it has no examples of the split {' or '.join(splits)}")
    destinations.write_destination(folder / DATASET_INFO, json.dumps(index, ensure_ascii=False, indent=2) + "\n")
    return written


def write_file(file: Path, form: Form, rows: Iterable[ExportRow], raw: bool = False) -> tuple[int, str] | None:
    """Write rows to a file; return their number and the SHA-256 of the bytes. Without rows nothing is written: None.

    Args:
        file: replaced as a whole or not at all.
        form: of its rows.
        rows: pairs with their instructions.
        raw: leave cells of a CSV that begin a formula as they are.
    """
    iterator = iter(rows)
    first = next(iterator, None)
    if first is None:
        return None
    digest = hashlib.sha256()
    with destinations.open_binary(file) as out:
        count = 0
        for line in _lines(form, _chained(first, iterator), raw):
            encoded = line.encode()
            digest.update(encoded)
            out.write(encoded)
            count += 1
    return count - (form is Form.CSV), digest.hexdigest()


def _rows(session: Session, dataset: int, split: str) -> Iterator[ExportRow]:
    values, streamed = {"dataset": dataset, "split": split}, {"yield_per": _ROWS_AT_ONCE}
    for row in session.connection().execute(text(_ROWS), values, execution_options=streamed):
        yield PromptAndAnswer(row.prompt_text, row.target_text), TUNED_SYSTEM[Stage(row.stage)]


def _chained(first: ExportRow, others: Iterator[ExportRow]) -> Iterator[ExportRow]:
    yield first
    yield from others


def _lines(form: Form, rows: Iterator[ExportRow], raw: bool) -> Iterator[str]:
    """Yield the lines of a file; a CSV begins with its header. In a CSV every cell is quoted, so that white space and line ends stay."""
    documents = (write_row(form, pair, instruction) for pair, instruction in rows)
    if form is not Form.CSV:
        yield from (json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        return
    cells = _Line()
    writer = csv.writer(cells, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(("prompt", "completion"))
    yield cells.line
    for document in documents:
        row = (document["prompt"], document["completion"])
        writer.writerow(row if raw else map(harmless, row))
        yield cells.line


class _Line:
    """What `csv.writer` wrote last."""

    line = ""

    def write(self, line: str) -> None:
        self.line = line


def _index(file: Path) -> dict[str, Any]:
    """Return the entries that a folder's `dataset_info.json` has already: other datasets may be there.

    Raises:
        UserError: it is no JSON object.
    """
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{file}: this is no dataset_info.json, which is a JSON object. Name another folder")
    return found
