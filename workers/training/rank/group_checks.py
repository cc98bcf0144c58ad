"""Checks that the ranks are one training on one process group, before the first step.

A process group that was never formed leaves N processes that each train a copy, and nothing says so: the loss falls all the same. So
before the first step every rank proves that the group has the size asked for and that no two ranks hold the same data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workers.errors import UserError
from workers.files import sha256
from workers.training.rank.examples.plan import Visit


class WrongProcessGroup(UserError):
    """The ranks are not the group that was asked for."""


def check_group(*, asked: int, started: int, joined: int, distributed_type: str) -> None:
    """Compare the world size of the job, of torchrun and of the process group, and who runs the optimizer.

    Raises:
        WrongProcessGroup: when they differ.
    """
    if not asked == started == joined:
        raise WrongProcessGroup(
            f"world_size {asked} was asked for, {started} ranks were started and {joined} joined the process group: "
            "each would train a copy. Check the backend (gloo on CPUs, nccl on GPUs) and that the ranks reach each other"
        )
    if distributed_type != "DEEPSPEED":
        raise WrongProcessGroup(
            f"DeepSpeed was asked for and {distributed_type} was set up. Check ACCELERATE_USE_DEEPSPEED and the deepspeed install"
        )


def visits_fingerprint(batches: Iterable[Sequence[Visit]]) -> int:
    """Return a 63-bit number that two ranks share only when they see the same visits in the same order."""
    digest = sha256(";".join(",".join(f"{visit.number}:{visit.index}" for visit in batch) for batch in batches))
    return int(digest[:16], 16) >> 1


def check_slices(fingerprints: Sequence[int]) -> None:
    """Given each rank's fingerprint, in rank order, refuse ranks with equal data.

    Raises:
        WrongProcessGroup: naming the ranks.
    """
    for rank, mark in enumerate(fingerprints):
        earlier = fingerprints.index(mark)
        if earlier != rank:
            raise WrongProcessGroup(
                f"ranks {earlier} and {rank} hold the same data, so each step would be made twice: their numbers are wrong"
            )
