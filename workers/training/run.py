"""A training job: write the examples to a file, launch the ranks, keep their numbers, register the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, text

from schemas.payloads import Stage, TrainingSpec
from workers import models
from workers.attempt import Attempt, Outcome, Stopped
from workers.errors import LeaseLost, NotFound, UserError
from workers.inference import prompts
from workers.settings import get_settings
from workers.store import transaction
from workers.training import launch
from workers.training.outcome import StopReason, TrainingFailed, TrainingResult, TrainingStopped
from workers.training.progress import Done, Start, Step


def train(attempt: Attempt, spec: TrainingSpec) -> Outcome:
    """Fine-tune as `spec` says; the adapter's files are complete before the `model` row is written."""
    folder = get_settings().runs_folder / str(attempt.job) / f"attempt-{attempt.claim.attempt}"
    folder.mkdir(parents=True, exist_ok=True)
    train_file = folder / "train.jsonl"
    dataset, fingerprint, examples = _write_examples(spec, train_file)
    attempt.log(f"{examples} examples of dataset {spec.dataset}, {spec.world_size} ranks, ZeRO-{spec.zero_stage}")
    recorder = _Recorder(attempt)
    try:
        here = spec.model_copy(update={"base": models.locate_base(spec.base)})
        result = launch.run(here, train_file, folder, recorder.record, lambda: _stop_reason(attempt))
    except TrainingStopped as stop:
        raise (LeaseLost() if stop.reason == "lost" else Stopped(stop.reason)) from stop
    except TrainingFailed as failure:
        if failure.kind == "user":
            raise UserError(str(failure)) from failure
        raise
    finally:
        train_file.unlink(missing_ok=True)
    recorder.flush()
    adapter = _keep_adapter(attempt, spec, result)
    summary = result.model_dump(mode="json", exclude={"rejected"}) | {"adapter": str(adapter), "dropped": len(result.rejected)}
    summary["dataset_fingerprint"] = fingerprint
    return Outcome(
        result=summary | {"model": spec.name},
        writes=lambda connection: _register(connection, attempt, spec, dataset, adapter, result, summary),
    )


def _stop_reason(attempt: Attempt) -> StopReason | None:
    return cast("StopReason", attempt.order) if attempt.order else None


def _write_examples(spec: TrainingSpec, train_file: Path) -> tuple[int, str, int]:
    """Render the train split to JSONL; return the dataset's id, its fingerprint, and the number of lines."""
    stage = Stage(spec.stage)
    with transaction() as connection, train_file.open("w", encoding="utf-8") as out:
        dataset = connection.execute(text("SELECT id, fingerprint FROM dataset WHERE name = :name"), {"name": spec.dataset}).one_or_none()
        if dataset is None:
            raise NotFound(f"dataset {spec.dataset}: there is none. `tweetmill synthesize` builds one")
        rows = connection.execution_options(yield_per=2000).execute(
            text(
                "SELECT prompt_text, target_text, origin FROM example "
                "WHERE dataset = :dataset AND split = 'train' AND stage = :stage ORDER BY key"
            ),
            {"dataset": dataset.id, "stage": stage.value},
        )
        count = 0
        for row in rows:
            prompt = [{"role": message.role, "content": message.content} for message in prompts.tuned(row.prompt_text, stage)]
            line = json.dumps({"prompt": prompt, "completion": row.target_text}, ensure_ascii=False) + "\n"
            repeats = spec.human_repeats if row.origin == "human" else 1
            out.write(line * repeats)
            count += repeats
    return int(dataset.id), str(dataset.fingerprint), count


STEP_METRICS = ("loss", "tokens_per_second", "learning_rate")
_ROWS_HELD_BACK = 30


class _Recorder:
    """Keeps the numbers of each step, a batch of rows a statement."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._rows: list[dict[str, Any]] = []

    def record(self, event: Start | Step | Done) -> None:
        """Show an event to whoever looks at the job, and store a step's numbers a little later."""
        self._attempt.progress(**event.model_dump(exclude={"kind"}))
        if isinstance(event, Step):
            self._rows += [{"step": event.step, "name": name, "value": getattr(event, name)} for name in STEP_METRICS]
        if len(self._rows) >= _ROWS_HELD_BACK:
            self.flush()

    def flush(self) -> None:
        """Store what is held back; a resumed run overwrites the steps that it repeats."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        with self._attempt.flush() as connection:
            connection.execute(
                text(
                    "INSERT INTO metric (job, step, name, value) SELECT :job, row.step, row.name, row.value "
                    "FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row(step int, name text, value float8) "
                    "ON CONFLICT (job, step, name) DO UPDATE SET value = excluded.value"
                ),
                {"job": self._attempt.job, "rows": json.dumps(rows)},
            )


def _keep_adapter(attempt: Attempt, spec: TrainingSpec, result: TrainingResult) -> Path:
    """Copy the adapter to its lasting place, named by its content."""
    target = get_settings().models_folder / "adapters" / f"{spec.name}-{result.sha256[:12]}"
    if not target.exists():
        aside = target.with_name(f".{target.name}.{attempt.claim.attempt}")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(result.adapter, aside)
        aside.rename(target)
    return target


_INSERT_MODEL = """
INSERT INTO model (name, base, method, stage, adapter_uri, adapter_sha256, dataset, job, details)
SELECT CASE WHEN EXISTS (SELECT 1 FROM model WHERE name = :name) THEN :name || '-' || left(cast(:job AS text), 8) ELSE :name END,
       :base, :method, :stage, :uri, :sha256, :dataset, cast(:job AS uuid), cast(:details AS jsonb)
"""


def _register(
    connection: Connection,
    attempt: Attempt,
    spec: TrainingSpec,
    dataset: int,
    adapter: Path,
    result: TrainingResult,
    summary: dict[str, Any],
) -> None:
    connection.execute(
        text(_INSERT_MODEL),
        {
            "name": spec.name,
            "base": spec.base,
            "method": spec.method,
            "stage": Stage(spec.stage).value,
            "uri": str(adapter),
            "sha256": result.sha256,
            "dataset": dataset,
            "job": str(attempt.job),
            "details": json.dumps(summary | {"spec": spec.model_dump(mode="json")}),
        },
    )
    rejected = [{"line": str(row.line), "field": row.field, "reason": row.reason} for row in result.rejected]
    connection.execute(
        text(
            "INSERT INTO rejected_row (job, origin, row_key, field, reason) SELECT :job, :origin, row.line, row.field, row.reason "
            "FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row(line text, field text, reason text) ON CONFLICT DO NOTHING"
        ),
        {"job": attempt.job, "origin": spec.dataset, "rows": json.dumps(rejected)},
    )
