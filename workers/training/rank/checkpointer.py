"""What the training loop asks of a checkpointer, and the signals that rank 0 sends to all ranks between two steps."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Protocol

from workers.training.protocol.manifest import Manifest


class Signal(IntEnum):
    """What all ranks do before the next step. Ranks other than 0 always have `CONTINUE`: the sum over ranks is rank 0's."""

    CONTINUE = 0
    SAVE = 1
    SAVE_AND_EXIT = 2
    EXIT = 3


class Checkpointer(Protocol):
    """Saves the state of one run and restores it. Each rank has one and makes the same calls at the same steps."""

    def resume(self) -> tuple[int, int]:
        """Restore the checkpoint that the payload names; return its step and the tokens seen up to it, (0, 0) without one.

        Raises:
            UserError: the checkpoint is not of this run.
        """
        ...

    def restore(self, folder: Path) -> Manifest:
        """Restore the state of a checkpoint; return what its manifest says. After it only the weights count: the run ends.

        Raises:
            UserError: the checkpoint is not of this run, or damaged.
        """
        ...

    @property
    def seconds(self) -> float:
        """Wall time spent in the ranks, that of earlier attempts up to their checkpoint included."""
        ...

    def pending(self, step: int) -> Signal:
        """Return what is due after `step` (from 1)."""
        ...

    def handle(self, signal: Signal, step: int, tokens: int) -> None:
        """Do what the signal says after `step`, at which all ranks together had seen `tokens` tokens.

        Raises:
            Preempted: the ranks exit.
            OSError: the checkpoint could not be written.
        """
        ...
