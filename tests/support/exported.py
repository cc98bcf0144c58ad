"""What tests of exports share: tiny models to export, with held-back rows, and a way to do the work of all children in this process."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection, text

from schemas.payloads import ExportSpec
from schemas.tables.models import Model
from workers.base_models import files
from workers.evaluation.systems import HeldBackRow
from workers.exports import formats
from workers.exports.formats import Part
from workers.exports.layout import Record
from workers.exports.roundtrip import check
from workers.exports.roundtrip.check import Subject
from workers.files import sha256_of_file

ROWS = 3
BASE_ID = "somebody/tiny-instruct"
_FIGURE = {"original": 60.0, "export": 59.5, "difference": -0.5, "low": -1.0, "high": 0.1}
AGREEMENT: dict[str, Any] = {
    "n": 20, "same_prompts": 20, "same_tokens": 20, "same_summaries": 19, "sari": _FIGURE, "promise": _FIGURE, "faithful": _FIGURE,
    "divergence": None, "cost": {"export": {"tokens_per_second": 31.5, "peak_bytes": 2**30}}, "engine": "somebody's 1.0",
}  # fmt: skip
"""What a round trip found, for a README."""


class _Silent:
    """A context that nobody watches and nobody stops."""

    def progress(self, **_: Any) -> None:
        pass


SILENT: Any = _Silent()


def held_back(count: int = ROWS) -> tuple[HeldBackRow, ...]:
    return tuple(
        HeldBackRow(f"row-{n}", f"omg the bus {n} was late again and I missed my train", (f"Bus {n} was late again.",))
        for n in range(count)
    )


def record_base(base: Path, tuned: Path) -> str:
    """Note beside tuned weights which base they are for; return the weights' digest."""
    files.BaseRecord(base=str(base), sha256=files.digest(base)).write(tuned)
    return sha256_of_file(next(iter(sorted(tuned.glob("*.safetensors")))))


def part_of(base: Path, tuned: Path | None, *, method: str = "lora", stage: str = "summary", base_id: str | None = BASE_ID) -> Part:
    """A model as the job would find it in the catalog."""
    sha256 = record_base(base, tuned) if tuned else None
    row = Model(
        id=1, name="short", base=str(base), method=method, stage=stage, adapter_uri=str(tuned) if tuned else None, details={},
        adapter_sha256=sha256,
    )  # fmt: skip
    return Part(row, base, files.digest(base), base_id, "apache-2.0", "---\n---\n\n# short\n", held_back())


def in_process(context: Any, module: str, request: BaseModel, report: type[Any]) -> Any:
    """Do the work of a child here: what it loads is loaded already. Both sides go through JSON, as between processes."""
    child = import_module(module)
    asked = type(request).model_validate_json(request.model_dump_json())
    return report.model_validate_json(child.work(asked).model_dump_json())


def written(part: Part, out: Path, format_: Any = "merged", **options: Any) -> formats.Described:
    """Export a part to a new folder, unchecked."""
    out.mkdir(parents=True)
    spec = ExportSpec(model_id=1, format=format_, **options)
    described = formats.write(SILENT, spec, part, out, in_process)
    formats.record_of(spec, part).write(out)
    return described


def checked(part: Part, folder: Path, **options: Any) -> dict[str, Any]:
    """The round trip of an export."""
    record = Record.read(folder)
    spec = ExportSpec(model_id=1, format=record.format, quant=record.quant, **options)
    return check.check(SILENT, Subject(part, folder, record), part.rows, spec, in_process)


def add_model(connection: Connection, name: str, base: Path, tuned: Path, *, method: str = "lora", stage: str = "summary") -> None:
    """A model that was trained on the dataset `mine`, which holds rows back and is made for the first one."""
    made = connection.execute(text("INSERT INTO dataset (name, fingerprint) VALUES ('mine', 'mine') ON CONFLICT DO NOTHING RETURNING id"))
    new = made.scalar_one_or_none()
    for row in held_back() if new is not None else ():
        connection.execute(
            text(
                "INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, split, cluster) "
                "VALUES (:dataset, :key, 'summary', :prompt, :target, 'human', 'test', 0)"
            ),
            {"dataset": new, "key": row.id, "prompt": row.tweet, "target": row.references[0]},
        )
    values = {"name": name, "base": str(base), "tuned": str(tuned), "method": method, "stage": stage}
    values |= {"sha256": record_base(base, tuned), "details": json.dumps({"dataset_fingerprint": "mine"})}
    connection.execute(
        text(
            "INSERT INTO model (name, base, method, stage, adapter_uri, adapter_sha256, dataset, details) "
            "SELECT :name, :base, :method, :stage, :tuned, :sha256, id, cast(:details AS jsonb) FROM dataset WHERE name = 'mine'"
        ),
        values,
    )
