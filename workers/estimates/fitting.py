"""Judges whether a recipe fits into a device's memory: for `tweetmill doctor`, and for a worker before it starts ranks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schemas.training import TrainingSpec
from workers.errors import NotFound, UserError
from workers.estimates.architecture import Architecture, read_architecture
from workers.estimates.machine import Device
from workers.estimates.memory import GIB, Estimate, estimate, usable
from workers.estimates.suggestions import smallest, suggest
from workers.memory import host_memory


@dataclass(frozen=True)
class Verdict:
    """Whether a recipe fits.

    Attributes:
        estimate: what it needs of each rank.
        device: where.
        fits: as it stands.
        fits_smallest: with one example a rank at a time, which is what a run comes down to by itself.
        suggestion: `key=value` words of the nearest setting that fits; None where it fits, or nothing does.
    """

    estimate: Estimate
    device: Device
    fits: bool
    fits_smallest: bool
    suggestion: str | None


def judge(base: Architecture, spec: TrainingSpec, device: Device) -> Verdict:
    """Return whether a training fits, and what would.

    Raises:
        UserError: the method does not fit the base.
    """

    def needs(asked: TrainingSpec) -> Estimate:
        return estimate(base, asked, on_gpu=device.on_gpu, dtype_bytes=device.dtype_bytes)

    room = usable(device.bytes, on_gpu=device.on_gpu)
    on_host = host_memory() // spec.ranks_per_node if device.on_gpu else 0

    def fits(asked: TrainingSpec) -> bool:
        try:
            memory = needs(asked).memory
        except UserError:
            return False
        if not device.on_gpu:
            return memory.total + memory.host <= room
        return memory.total <= room and (not memory.host or memory.host <= on_host)

    found = needs(spec)
    as_is = fits(spec)
    return Verdict(found, device, as_is, as_is or fits(smallest(spec)), None if as_is else suggest(spec, fits))


def config_folder(base: str) -> Path:
    """Return a folder with the config of a base model: the model's own, or one that has the hub's `config.json` alone.

    Raises:
        NotFound: it is no folder, and the hub's can't be fetched.
    """
    if Path(base).is_dir():
        return Path(base)
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(base, "config.json")).parent
    except Exception as error:
        raise NotFound(
            f"the base {base} is not on this machine, and its config.json can't be fetched from the hub ({type(error).__name__}):"
            " give a folder that has it, with base=FOLDER; `tweetmill fetch` brings the demo's"
        ) from None


def check_fits(base: Path, spec: TrainingSpec, device: Device) -> str | None:
    """Refuse a training that can't fit however small its micro-batch becomes; return a warning where it fits only with a smaller one.

    Raises:
        UserError: with what would fit.
    """
    verdict = judge(read_architecture(base), spec, device)
    if verdict.fits:
        return None
    memory = verdict.estimate.memory
    lacks = f"{memory.total / GIB:.1f} GiB a rank are needed and {device.name} has {device.bytes / GIB:.1f}"
    cure = f"what fits: {verdict.suggestion}" if verdict.suggestion else "nothing short of a smaller base or more ranks fits"
    if verdict.fits_smallest:
        return f"by the estimate {lacks}, when all rows are {spec.max_length} tokens long; the micro-batch is halved if need be; {cure}"
    raise UserError(f"the training does not fit into memory: {lacks}; {cure}. `tweetmill doctor -r RECIPE` shows what takes it")
