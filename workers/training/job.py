"""Runs a training job: writes the examples to a file, launches the ranks from the newest checkpoint, and registers the model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import select

from schemas.payloads import Stage
from schemas.tables.models import Model
from schemas.tables.tweets import RejectedRow
from schemas.training import TrainingSpec
from workers import files
from workers.base_models.files import check, digest
from workers.catalog import model_card, models
from workers.catalog.removal import taken_back
from workers.database import session_on
from workers.errors import LeaseLost, UserError
from workers.file_permissions import make_private
from workers.jobs.context import JobContext, Outcome, Stopped
from workers.settings import get_settings
from workers.text.instructions import PROMPT_VERSION
from workers.training import examples, gang, run_files
from workers.training.devices import check_devices, check_memory
from workers.training.hardware import hardware
from workers.training.launcher import launch
from workers.training.micro_batches import train_within_memory
from workers.training.protocol import checkpoints
from workers.training.protocol.manifest import Manifest
from workers.training.protocol.outcome import OutOfMemory, TrainingFailed, TrainingResult, TrainingStopped
from workers.training.protocol.payload import TOKENS_FOLDER, RunPayload
from workers.training.recorder import Recorder, attempt_folder
from workers.training.trackers import check_trackers

CHECKPOINTS = "checkpoints"


def train(attempt: JobContext, spec: TrainingSpec) -> Outcome:
    """Fine-tune a base model as `spec` says; the files of the adapter are complete before the row of the model is written."""
    check_devices(attempt, spec)
    check_trackers(spec)
    runs = get_settings().runs_folder / str(attempt.job)
    folder = runs / attempt_folder(attempt.number)
    make_private(folder)
    base = models.locate_base(spec.base)
    check_memory(attempt, spec, Path(base))
    run = RunPayload(
        spec=spec.model_copy(update={"base": base}),
        base_sha256=base_sha256(Path(base)),
        train_file=folder / examples.TRAIN_FILE,
        eval_file=folder / examples.EVAL_FILE if spec.eval_rows else None,
        run_folder=folder,
        attempt=attempt.number,
        checkpoint_folder=runs / CHECKPOINTS,
    )
    recorder = Recorder(attempt, run.checkpoints)
    # Of an attempt that was killed: tweets lie nowhere longer than they must.
    examples.remove(*runs.glob("attempt-*"), *runs.glob("attempt-*/node-*"))
    try:
        written = examples.write(spec, folder)
        if gone := run_files.begin(runs, spec, written):
            were = "1 example was" if gone == 1 else f"{gone:,} examples were"
            attempt.log(f"{were} taken back of dataset {spec.dataset} since the attempt before: what it had learnt is not gone on from")
        held_back = f", {written.held_back} held back to evaluate on" if written.held_back else ""
        without = f", {written.without_clean} without a clean text left out" if written.without_clean else ""
        read = f"{written.lines} examples of dataset {spec.dataset}{held_back}{without}"
        attempt.log(f"{read}, {spec.world_size} ranks, ZeRO-{spec.zero_stage}")
        result = train_within_memory(run.spec, runs, lambda fitting: _launch(attempt, _with(run, fitting), recorder), attempt.log)
    finally:
        examples.remove(folder)
    summary = result.model_dump(mode="json", exclude={"rejected"})
    summary |= {"dataset_fingerprint": written.fingerprint, "prompt_version": PROMPT_VERSION, "hardware": hardware(result)}
    summary |= {taken_back.BEFORE: written.taken_back} if written.taken_back else {}
    adapter = _keep_adapter(attempt, spec, result, _card(spec, result, summary))
    summary["adapter"] = str(adapter)

    def write(connection: Connection) -> None:
        recorder.write(connection)
        recorder.remove_all(connection)
        _register(connection, attempt, spec, written.dataset, adapter, result, summary)

    return Outcome(result=summary | {"model": spec.name}, writes=write, afterwards=lambda: _finish(attempt, runs))


def base_sha256(base: Path) -> str:
    """Return the digest of a base model in a folder, after a check of its files; empty for a hub id, which the ranks fetch and check.

    Raises:
        UserError: it can't be used.
    """
    if not base.is_dir():
        return ""
    check(base)
    return digest(base, get_settings().models_folder)


def _with(run: RunPayload, spec: TrainingSpec) -> RunPayload:
    return run.model_copy(update={"spec": spec})


def _launch(attempt: JobContext, run: RunPayload, recorder: Recorder) -> TrainingResult:
    """Start the ranks once, from the newest checkpoint; turn what they end with into an error that the ledger understands."""
    stored = recorder.choose(checkpoints.training_identity(run.spec, run.train_file, run.base_sha256))
    if stored is not None:
        checkpoints.check_batch(stored.manifest, run.spec)
        attempt.log(_resumption(stored.manifest, run.spec))
        run = run.model_copy(update={"resume_from": stored.folder, "dtype": stored.manifest.dtype})
    try:
        with gang.gathered(attempt, run) as (run, should_stop):
            return launch.run(run, recorder.record, should_stop, lambda: attempt.held_until)
    except TrainingStopped as stop:
        raise (Stopped(stop.reason) if stop.reason in ("cancel", "drain") else LeaseLost()) from stop
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
    message = f"resumed from step {manifest.step} of attempt {manifest.attempt}"
    if manifest.world_size != spec.world_size:
        message += f", made by {manifest.world_size} ranks"
        message += ": dropout is drawn anew" if spec.lora_dropout else ""
    return message


def _card(spec: TrainingSpec, result: TrainingResult, summary: dict[str, Any]) -> str:
    """Return the card of the model as it will be registered."""
    details = summary | {"spec": spec.model_dump(mode="json")}
    model = Model(
        id=0,
        name=spec.name,
        base=spec.base,
        method=spec.method,
        stage=Stage(spec.stage).value,
        adapter_sha256=result.sha256,
        details=details,
    )
    return model_card.render(model, spec.dataset, (), {})


def _keep_adapter(attempt: JobContext, spec: TrainingSpec, result: TrainingResult, card: str) -> Path:
    """Copy the adapter to the models folder with its card, under a name with the beginning of its digest."""
    target = get_settings().models_folder / "adapters" / f"{spec.name}-{result.sha256[:12]}"
    if not target.exists():
        with files.atomic_folder(target, target.with_name(f".{target.name}.{attempt.number}"), sync=True) as aside:
            shutil.copytree(result.adapter, aside)
            (aside / model_card.CARD).write_text(card, encoding="utf-8")
    return target


def _register(
    connection: Connection,
    attempt: JobContext,
    spec: TrainingSpec,
    dataset: int,
    adapter: Path,
    result: TrainingResult,
    summary: dict[str, Any],
) -> None:
    """Write the row of the model, and a row for each line that was rejected. A name that is taken gets the beginning of the job's id."""
    rejected = [
        {"job": attempt.job, "origin": spec.dataset, "row_key": str(row.line), "field": row.field, "reason": row.reason}
        for row in result.rejected
    ]
    with session_on(connection) as opened:
        is_taken = opened.exec(select(Model.id).where(Model.name == spec.name)).first() is not None
        opened.execute(
            insert(Model).values(
                name=f"{spec.name}-{str(attempt.job)[:8]}" if is_taken else spec.name,
                base=spec.base,
                method=spec.method,
                stage=Stage(spec.stage).value,
                adapter_uri=str(adapter),
                adapter_sha256=result.sha256,
                dataset=dataset,
                job=attempt.job,
                details=summary | {"spec": spec.model_dump(mode="json")},
            )
        )
        if rejected:
            opened.execute(insert(RejectedRow).on_conflict_do_nothing(), rejected)


def _finish(attempt: JobContext, runs: Path) -> None:
    """Write the model's card anew, since its name may have been taken, and tidy up."""
    model_card.refresh(job=attempt.job)
    _tidy(runs)


def _tidy(runs: Path) -> None:
    """Remove checkpoints and large files of a job that is done; its logs stay."""
    shutil.rmtree(runs / CHECKPOINTS, ignore_errors=True)
    shutil.rmtree(runs / TOKENS_FOLDER, ignore_errors=True)
    (runs / run_files.NOTE_FILE).unlink(missing_ok=True)  # nothing that it notes is left
    for folder in (*runs.glob("attempt-*"), *runs.glob("attempt-*/node-*")):
        launch.remove_large(folder)
