"""Checkpoints of a run under DeepSpeed's ZeRO: when one is due, what it holds, and how a run is restored from it. It loads torch."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path

from safetensors import safe_open

from workers.base_models.tensor_writer import Out, write_tensors
from workers.errors import UserError
from workers.training.protocol import checkpoints, deadline
from workers.training.protocol.manifest import Manifest
from workers.training.protocol.outcome import Preempted
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import CheckpointWritten, ProgressWriter
from workers.training.rank.checkpointer import Signal
from workers.training.rank.evaluation.evaluation import Evaluation
from workers.training.rank.step import Trainer
from workers.training.rank.zero.state import STATES, gather, optimizer_step, restore, shapes_of

LONGEST_INTERVAL = 600.0  # seconds between two checkpoints, however long a step takes


class ZeroCheckpointer:
    """A `Checkpointer` that works on any number of ranks and at every ZeRO stage. Rank 0, which has `progress`, decides and writes.

    Args:
        run: the payload of the ranks.
        trainer: the run, with its model in DeepSpeed's engine.
        evaluation: of the run, whose state goes into the manifests.
        progress: rank 0's; None on the other ranks, which only give the parts of the state that they hold.
        begin: moment of `time.monotonic` at which the rank began.
    """

    def __init__(self, run: RunPayload, trainer: Trainer, evaluation: Evaluation, progress: ProgressWriter | None, begin: float) -> None:
        self._run = run
        self._trainer = trainer
        self._trainable = trainer.method.trainable(trainer.model.module)
        self._evaluation = evaluation
        self._progress = progress
        self._identity = checkpoints.training_identity(run.spec, run.train_file, run.base_sha256) if progress else ""
        self._begin = begin
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._earlier_seconds = 0.0

    def resume(self) -> tuple[int, int]:
        """See `Checkpointer`."""
        if self._run.resume_from is None:
            return 0, 0
        manifest = self.restore(self._run.resume_from)
        self._earlier_seconds = manifest.seconds
        self._evaluation.recall(manifest.evaluation)
        return manifest.step, manifest.tokens

    def restore(self, folder: Path) -> Manifest:
        """See `Checkpointer`."""
        try:
            stored = checkpoints.verify(folder)
        except checkpoints.Unusable as error:
            raise UserError(f"{folder.name}: {error}") from error
        lacking = [_file_of(what) for what in STATES if _file_of(what) not in stored.manifest.files]
        if lacking:
            raise UserError(f"{folder.name}: {', '.join(lacking)} is not in its manifest")
        checkpoints.check_batch(stored.manifest, self._run.spec)
        with ExitStack() as opened:
            files = {what: opened.enter_context(safe_open(folder / _file_of(what), "pt")) for what in STATES}
            for what, file in files.items():
                self._check_shapes(what, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118 - no mapping
            restore(self._trainer.model, self._trainable, lambda what, name: files[what].get_tensor(name), stored.manifest.optimizer_step)
        return stored.manifest

    def _check_shapes(self, what: str, found: dict[str, tuple[int, ...]]) -> None:
        if found != shapes_of(self._trainable):
            raise UserError(f"the checkpoint's {what} is not of this model: was the base model replaced? Train under another name")

    @property
    def seconds(self) -> float:
        """See `Checkpointer`."""
        return self._earlier_seconds + time.monotonic() - self._begin

    def pending(self, step: int) -> Signal:
        """See `Checkpointer`: rank 0 looks at the deadline, at the request to stop, and at when the last checkpoint was made."""
        if self._progress is None:
            return Signal.CONTINUE
        if deadline.has_passed(self._run.deadline_file):
            return Signal.EXIT
        if step == len(self._trainer.batches):
            return Signal.CONTINUE
        if self._run.stop_file.exists():
            return Signal.SAVE_AND_EXIT
        every = self._run.spec.save_steps
        is_due = every > 0 and (step % every == 0 or time.monotonic() - self._saved_at > LONGEST_INTERVAL)
        return Signal.SAVE if is_due else Signal.CONTINUE

    def handle(self, signal: Signal, step: int, tokens: int) -> None:
        """See `Checkpointer`."""
        if signal is Signal.EXIT:
            raise Preempted(f"left after step {step}: the worker has not said for too long that the job is still ours")
        if signal is not Signal.CONTINUE and step != self._saved_step:
            self._save(step, tokens)
        if signal is Signal.SAVE_AND_EXIT:
            self._trainer.accelerator.wait_for_everyone()  # a rank that exits takes the others with it
            raise Preempted(f"left after step {step}, as asked, with a checkpoint")

    def _save(self, step: int, tokens: int) -> None:
        began = time.monotonic()
        engine, spec = self._trainer.model, self._run.spec
        self._saved_step, self._saved_at = step, began
        if self._progress is None:
            for what in STATES:
                deque(gather(engine, self._trainable, what), maxlen=0)
            return
        manifest = Manifest(
            identity=self._identity,
            step=step,
            attempt=self._run.attempt,
            world_size=spec.world_size,
            zero_stage=spec.zero_stage,
            global_batch=spec.global_batch,
            tokens=tokens,
            seconds=self.seconds,
            optimizer_step=optimizer_step(engine),
            dtype=self._trainer.precision.dtype,
            evaluation=self._evaluation.state,
        )
        stored = checkpoints.write(self._run.checkpoints, manifest, {_file_of(what): self._content_of(what) for what in STATES})
        is_best = self._evaluation.state.best_folder == stored.folder.name
        self._progress.write(_event(stored, time.monotonic() - began, is_best=is_best))

    def _content_of(self, what: str) -> checkpoints.Content:
        def write(out: Out) -> None:
            write_tensors(out, "float32", shapes_of(self._trainable), gather(self._trainer.model, self._trainable, what))

        return write


def _file_of(what: str) -> str:
    return f"{what}.safetensors"


def _event(stored: checkpoints.Stored, seconds: float, *, is_best: bool) -> CheckpointWritten:
    manifest = stored.manifest
    return CheckpointWritten(
        step=manifest.step,
        attempt=manifest.attempt,
        folder=stored.folder.name,
        manifest_sha256=stored.manifest_sha256,
        world_size=manifest.world_size,
        zero_stage=manifest.zero_stage,
        bytes=stored.bytes,
        seconds=seconds,
        best=is_best,
    )
