"""Returns the engine of this process: built by its module in `builders` when first needed, and kept warm for later jobs."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Protocol, cast

from workers.inference.engine import Engine
from workers.settings import Settings, get_settings

_warm: dict[str, Engine] = {}


class Builder(Protocol):
    """A module of `workers.inference.builders`."""

    def build(self, settings: Settings, base: str) -> Engine:
        """Return an engine that answers with the base model `base`."""
        ...


def engine_for(base: str, *, all_cores: bool = False, local: bool = False) -> Engine:
    """Return the engine for `base` that `TWEETMILL_ENGINE` names.

    One engine is kept: a worker that turns to another base frees the memory of the first.

    Args:
        base: folder or hub id of the base model; for a server, the name under which it serves the model.
        all_cores: use all cores of the machine, for work that is one job and not a shard among others.
        local: use the engine in this process, whatever the setting says.

    Raises:
        SettingsError: a setting that the engine needs is missing.
        UserError: the base can't be used.
    """
    settings = get_settings()
    if local:
        settings = settings.model_copy(update={"engine": "transformers"})
    if all_cores:
        settings = settings.model_copy(update={"threads": len(os.sched_getaffinity(0))})
    key = f"{settings.engine}:{base}:{settings.threads}:{settings.dtype}"
    if key not in _warm:
        _warm.clear()
        _warm[key] = builder_of(settings.engine).build(settings, base)
    return _warm[key]


def builder_of(engine: str) -> Builder:
    """Return the module that builds an engine. `Settings` lets through only names that have one."""
    return cast("Builder", import_module(f"workers.inference.builders.{engine}"))
