"""When a checkpoint is made, what goes into it, and how a run goes on from one. Imported by a rank alone: it loads torch."""

from __future__ import annotations

import time
from enum import IntEnum

from safetensors.torch import load, save

from workers.errors import UserError
from workers.training.protocol import checkpoints, deadline
from workers.training.protocol.manifest import Manifest
from workers.training.protocol.outcome import Preempted
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import Checkpoint, ProgressWriter
from workers.training.rank.schedule import global_batch
from workers.training.rank.step import Trainer
from workers.training.rank.zero_state import MOMENTS, WEIGHT, gather, optimizer_step, restore

LONGEST_INTERVAL = 600.0  # seconds between two checkpoints, however long a step takes


class Order(IntEnum):
    """What rank 0 asks of all ranks at the end of a step."""

    GO_ON = 0
    SAVE = 1
    LEAVE = 2
    ABANDON = 3


class Keeper:
    """Makes the checkpoints of one run. Rank 0 decides and writes, since it alone has `progress`; the others give what they hold."""

    def __init__(self, run: RunPayload, trainer: Trainer, progress: ProgressWriter | None, begin: float) -> None:
        self._run = run
        self._trainer = trainer
        self._progress = progress
        self._identity = checkpoints.identity(run.spec, run.train_file, run.base_sha256) if progress else ""
        self._begin = begin
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._earlier_seconds = 0.0

    def resume(self) -> tuple[int, int]:
        """Go on from the checkpoint that the payload names; return its step and the tokens seen up to it, (0, 0) without one.

        Raises:
            UserError: the checkpoint is not of this run.
        """
        if self._run.resume_from is None:
            return 0, 0
        try:
            stored = checkpoints.verify(self._run.resume_from)
            whole = {what: load(checkpoints.read(stored, f"{what}.safetensors")) for what in (WEIGHT, *MOMENTS)}
        except checkpoints.Unusable as error:
            raise UserError(f"{self._run.resume_from.name}: {error}") from error
        checkpoints.check_batch(stored.manifest, self._run.spec)
        restore(self._trainer.model, whole, stored.manifest.optimizer_step)
        self._saved_step, self._earlier_seconds = stored.manifest.step, stored.manifest.seconds
        return stored.manifest.step, stored.manifest.tokens

    @property
    def seconds(self) -> float:
        """Spent in the ranks, those of the attempts before this one included, up to their checkpoint."""
        return self._earlier_seconds + time.monotonic() - self._begin

    def order(self, step: int) -> Order:
        """What is to be done after `step`; it is rank 0 that answers."""
        if self._progress is None:
            return Order.GO_ON
        if deadline.is_over(self._run.leash_file):
            return Order.ABANDON
        if step == len(self._trainer.batches):
            return Order.GO_ON
        if self._run.stop_file.exists():
            return Order.LEAVE
        every = self._run.spec.save_steps
        is_due = every > 0 and (step % every == 0 or time.monotonic() - self._saved_at > LONGEST_INTERVAL)
        return Order.SAVE if is_due else Order.GO_ON

    def obey(self, order: Order, step: int, tokens: int) -> None:
        """Do what rank 0 asked for. All ranks call this at the same step.

        Raises:
            Preempted: they leave.
            OSError: the checkpoint could not be written.
        """
        if order is Order.ABANDON:
            raise Preempted(f"left after step {step}: the worker has not said for too long that the job is still ours")
        if order is not Order.GO_ON and step != self._saved_step:
            self._save(step, tokens)
        if order is Order.LEAVE:
            self._trainer.accelerator.wait_for_everyone()  # a rank that leaves takes the others with it
            raise Preempted(f"left after step {step}, as asked, with a checkpoint")

    def _save(self, step: int, tokens: int) -> None:
        began = time.monotonic()
        engine, spec = self._trainer.model, self._run.spec
        whole = gather(engine, keep=self._progress is not None)
        self._saved_step, self._saved_at = step, began
        if self._progress is None:
            return
        manifest = Manifest(
            identity=self._identity,
            step=step,
            attempt=self._run.attempt,
            world_size=spec.world_size,
            zero_stage=spec.zero_stage,
            global_batch=global_batch(spec),
            tokens=tokens,
            seconds=self.seconds,
            optimizer_step=optimizer_step(engine),
            dtype=self._trainer.precision.dtype,
        )
        files = {f"{what}.safetensors": save(tensors) for what, tensors in whole.items()}
        stored = checkpoints.write(self._run.checkpoints, manifest, files)
        self._progress.write(_event(stored, time.monotonic() - began))


def _event(stored: checkpoints.Stored, seconds: float) -> Checkpoint:
    manifest = stored.manifest
    return Checkpoint(
        step=manifest.step,
        attempt=manifest.attempt,
        folder=stored.folder.name,
        manifest_sha256=stored.manifest_sha256,
        world_size=manifest.world_size,
        zero_stage=manifest.zero_stage,
        bytes=stored.bytes,
        seconds=seconds,
    )
