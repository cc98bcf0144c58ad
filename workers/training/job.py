"""A training job: write the examples to a file, launch the ranks, go on from the newest checkpoint, register the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from schemas.payloads import Stage, TrainingSpec
from workers import files
from workers.base_models import files as bases
from workers.catalog import models
from workers.database import transaction
from workers.errors import LeaseLost, NotFound, UserError
from workers.jobs.context import JobContext, Outcome, Stopped
from workers.permissions import make_private
from workers.settings import get_settings
from workers.text import prompts
from workers.training.launcher import launch
from workers.training.protocol import checkpoints
from workers.training.protocol.manifest import Manifest
from workers.training.protocol.outcome import OutOfMemory, TrainingFailed, TrainingResult, TrainingStopped
from workers.training.protocol.payload import RunPayload
from workers.training.recorder import Recorder, attempt_folder

CHECKPOINTS = "checkpoints"
TRAIN_FILE = "train.jsonl"


def train(attempt: JobContext, spec: TrainingSpec) -> Outcome:
    """Fine-tune as `spec` says; the adapter's files are complete before the `model` row is written."""
    runs = get_settings().runs_folder / str(attempt.job)
    folder = runs / attempt_folder(attempt.number)
    make_private(folder)
    base = models.locate_base(spec.base)
    run = RunPayload(
        spec=spec.model_copy(update={"base": base}),
        base_sha256=_base_sha256(Path(base)),
        train_file=folder / TRAIN_FILE,
        run_folder=folder,
        attempt=attempt.number,
        checkpoint_folder=runs / CHECKPOINTS,
    )
    recorder = Recorder(attempt, run.checkpoints)
    for left in runs.glob(f"*/{TRAIN_FILE}"):  # of an attempt that was killed: tweets lie nowhere longer than they must
        left.unlink(missing_ok=True)
    try:
        dataset, fingerprint, examples = _write_examples(spec, run.train_file)
        attempt.log(f"{examples} examples of dataset {spec.dataset}, {spec.world_size} ranks, ZeRO-{spec.zero_stage}")
        result = _train_within_memory(attempt, run, recorder)
    finally:
        run.train_file.unlink(missing_ok=True)
    adapter = _keep_adapter(attempt, spec, result)
    summary = result.model_dump(mode="json", exclude={"rejected"}) | {"adapter": str(adapter), "dropped": len(result.rejected)}
    summary["dataset_fingerprint"] = fingerprint

    def write(connection: Connection) -> None:
        recorder.write(connection)
        recorder.remove_all(connection)
        _register(connection, attempt, spec, dataset, adapter, result, summary)

    return Outcome(result=summary | {"model": spec.name}, writes=write, afterwards=lambda: _tidy(runs))


def _base_sha256(base: Path) -> str:
    """The digest of a base that lies here, after a look at its files; one of the hub is looked at when the ranks have fetched it.

    Raises:
        UserError: it can't be used; no rank need start to find out.
    """
    if not base.is_dir():
        return ""
    bases.check(base)
    return bases.digest(base, get_settings().models_folder)


def _train_within_memory(attempt: JobContext, run: RunPayload, recorder: Recorder) -> TrainingResult:
    """Train; when that takes too much memory, go on from the newest checkpoint in smaller bites, once."""
    sizes = [run.spec.per_device_train_batch_size]
    try:
        return _launch(attempt, run, recorder)
    except OutOfMemory as error:
        smaller = halved(run.spec)
        if smaller is None:
            raise OutOfMemory(f"out of memory with one example a rank at a time: {_CURE}", error.log_tail) from error
        sizes.append(smaller.per_device_train_batch_size)
    attempt.log("out of memory with {} examples a rank at a time: once more with {}, as many a step".format(*sizes))
    try:
        return _launch(attempt, run.model_copy(update={"spec": smaller}), recorder)
    except OutOfMemory as error:
        told = "out of memory with {} examples a rank at a time, and with {}: lower per_device_train_batch_size, or ".format(*sizes)
        raise OutOfMemory(told + _CURE, error.log_tail) from error


_CURE = "lower max_length or lora_r, use more ranks, or take a smaller base"


def halved(spec: TrainingSpec) -> TrainingSpec | None:
    """The same training in smaller micro-batches, half as large where that divides; None when they can't be smaller."""
    size = spec.per_device_train_batch_size
    smaller = max((part for part in range(1, size // 2 + 1) if size % part == 0), default=None)
    if smaller is None:
        return None
    accumulation = spec.gradient_accumulation_steps * size // smaller
    return spec.model_copy(update={"per_device_train_batch_size": smaller, "gradient_accumulation_steps": accumulation})


def _launch(attempt: JobContext, run: RunPayload, recorder: Recorder) -> TrainingResult:
    """One start of the ranks, from the newest checkpoint on; what they end with becomes an error that the ledger understands."""
    stored = recorder.choose(checkpoints.identity(run.spec, run.train_file, run.base_sha256))
    if stored is not None:
        checkpoints.check_batch(stored.manifest, run.spec)
        attempt.log(_resumption(stored.manifest, run.spec))
        run = run.model_copy(update={"resume_from": stored.folder, "dtype": stored.manifest.dtype})
    try:
        return launch.run(run, recorder.record, lambda: attempt.pending_signal, lambda: attempt.held_until)
    except TrainingStopped as stop:
        raise (LeaseLost() if stop.reason == "lost" else Stopped(stop.reason)) from stop
    except TrainingFailed as failure:
        if failure.kind == "user":
            raise UserError(str(failure)) from failure
        if failure.kind == "oom":
            raise OutOfMemory(str(failure), failure.log_tail) from failure
        if failure.kind == "preempted":
            attempt.log(str(failure))
            raise Stopped("drain") from failure
        raise


def _resumption(manifest: Manifest, spec: TrainingSpec) -> str:
    told = f"resumed from step {manifest.step} of attempt {manifest.attempt}"
    if manifest.world_size != spec.world_size:
        told += f", made by {manifest.world_size} ranks"
        told += ": dropout is drawn anew" if spec.lora_dropout else ""
    return told


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


def _keep_adapter(attempt: JobContext, spec: TrainingSpec, result: TrainingResult) -> Path:
    """Copy the adapter to its lasting place, named by its content."""
    target = get_settings().models_folder / "adapters" / f"{spec.name}-{result.sha256[:12]}"
    if not target.exists():
        with files.atomic_folder(target, target.with_name(f".{target.name}.{attempt.number}"), sync=True) as aside:
            shutil.copytree(result.adapter, aside)
    return target


_INSERT_MODEL = """
INSERT INTO model (name, base, method, stage, adapter_uri, adapter_sha256, dataset, job, details)
SELECT CASE WHEN EXISTS (SELECT 1 FROM model WHERE name = :name) THEN :name || '-' || left(cast(:job AS text), 8) ELSE :name END,
       :base, :method, :stage, :uri, :sha256, :dataset, cast(:job AS uuid), cast(:details AS jsonb)
"""


def _register(
    connection: Connection,
    attempt: JobContext,
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


def _tidy(runs: Path) -> None:
    """Leave the logs and small files of a job that is done."""
    shutil.rmtree(runs / CHECKPOINTS, ignore_errors=True)
    for folder in runs.glob("attempt-*"):
        launch.remove_large(folder)
