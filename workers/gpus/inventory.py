"""Lists the GPUs of this machine with their memory, capability and driver, as `nvidia-smi` tells them."""

from __future__ import annotations

from dataclasses import dataclass

from workers.gpus.driver import query

_FIELDS = "uuid,name,memory.total,memory.used,driver_version,compute_cap"


@dataclass(frozen=True)
class Gpu:
    """One GPU: its memory in bytes, its compute capability such as (8, 0), or None where the driver does not say."""

    uuid: str
    name: str
    memory: int
    used: int
    driver: str
    capability: tuple[int, int] | None


def inventory() -> tuple[Gpu, ...]:
    """Return the GPUs of this machine; none without a driver.

    Raises:
        Unavailable: the driver does not answer.
    """
    rows = (query(f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits") or "").splitlines()
    split = ([part.strip() for part in row.split(",")] for row in rows)
    return tuple(_gpu(parts) for parts in split if len(parts) == len(_FIELDS.split(",")) and parts[2].isdecimal())


def _gpu(parts: list[str]) -> Gpu:
    uuid, name, total, used, driver, capability = parts
    major, _, minor = capability.partition(".")
    known = (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
    return Gpu(uuid, name, int(total) * 2**20, int(used) * 2**20 if used.isdecimal() else 0, driver, known)
