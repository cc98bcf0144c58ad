"""Checks, before anything is written or started, that this worker has the devices and the memory that a recipe asks for."""

from __future__ import annotations

from pathlib import Path

from schemas.payloads import Queue
from schemas.training import TrainingSpec
from workers.base_models.files import UnusableBase
from workers.database import session
from workers.errors import Busy, NotFound, UserError
from workers.estimates import machine
from workers.estimates.fitting import check_fits
from workers.gpus.driver import visible_gpus
from workers.gpus.inventory import inventory
from workers.jobs import queries, worker_registry
from workers.jobs.context import JobContext
from workers.settings import ENVIRONMENT, get_settings

_LEFT_FOR = ": left for "


def check_devices(attempt: JobContext, spec: TrainingSpec) -> None:
    """Make sure that this worker sees a GPU for each rank that it would start, where the recipe needs GPUs.

    Raises:
        Busy: it does not, and another worker takes trainings that has not said the same: the job goes back to the queue, for that one.
            It may be at work on another training for days.
        UserError: it does not, and nor does any other.
    """
    lack = missing_devices(spec, len(visible_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES"))))
    if lack is None:
        return
    others, without = _others_that_train(attempt)
    if others - without:
        raise Busy(f"{lack}{_LEFT_FOR}{' or '.join(sorted(others - without))}")
    neither = f" (and neither do the others that take trainings: {', '.join(sorted(others))})" if others else ""
    raise UserError(f"{lack}{neither}. {_cure(spec)}")


def check_memory(attempt: JobContext, spec: TrainingSpec, base: Path) -> None:
    """Refuse a training that can't fit on this worker, however small its micro-batch becomes; log it where only a smaller one may fit.

    Nothing is known of a base that is still on the hub, or whose config does not tell its sizes: ranks try. `TWEETMILL_CHECK_MEMORY=false`
    has them try always.

    Raises:
        UserError: with the nearest setting that fits.
    """
    if not get_settings().check_memory or not base.is_dir():
        return
    try:
        device = machine.device_for(spec, machine.visible(inventory()))
        warning = check_fits(base, spec, device) if device is not None else None
    except (NotFound, UnusableBase):
        return
    if warning is not None:
        attempt.log(warning)


def missing_devices(spec: TrainingSpec, gpus: int) -> str | None:
    """Return what a worker that sees so many GPUs lacks for a training; None where it has all."""
    if spec.device == "cuda" and not gpus:
        return "the recipe says device: cuda, and this worker sees no GPU"
    if spec.device != "cpu" and 0 < gpus < spec.ranks_per_node:
        return f"the training starts {spec.ranks_per_node} ranks on a node, one a GPU, and this worker sees {gpus}"
    return None


def _cure(spec: TrainingSpec) -> str:
    fewer = f"Set world_size={spec.nodes}" if spec.ranks_per_node > 1 else "Set device: cpu to train on CPUs"
    return f"{fewer}, or start a worker where there are GPUs: `tweetmill worker --queues training --gpu 0`"


def _others_that_train(attempt: JobContext) -> tuple[set[str], set[str]]:
    """Return the other workers that take trainings, and those that gave this very job back since they lack what it needs."""
    with session() as opened:
        live = worker_registry.live(opened.connection())
        without = queries.released_by(opened, attempt.job, _LEFT_FOR)
    others = {worker.name for worker in live if worker.name != attempt.owner and Queue.TRAINING in worker.queues and not worker.draining}
    return others, without
