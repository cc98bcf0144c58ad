"""Returns the engine of this process: built by its module in `builders` when first needed, and kept warm for later jobs."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import Protocol, runtime_checkable

from workers.errors import Busy, SettingsError
from workers.gpus import driver
from workers.inference.engine import Engine, UnusableDevice
from workers.inference.engine_builders import ServerBuilder, builder_of
from workers.inference.gpu.engine import PATIENCE, GpuEngine
from workers.inference.served.engine import ServedEngine
from workers.settings import ENVIRONMENT, Settings, get_settings

logger = logging.getLogger(__name__)

_warm: dict[str, Engine] = {}
_unusable: list[str] = []
"""Why PyTorch can't use the GPUs of this worker, once that is known."""


@runtime_checkable
class _OnCpu(Protocol):
    """An engine that computes with the threads of this process."""

    def set_threads(self, threads: int | None) -> None:
        """Compute with so many threads from now on; None: with as many as torch takes by itself."""
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
        Busy: every GPU is held, and the settings say to wait for one.
    """
    settings = get_settings()
    if local:
        settings = settings.model_copy(update={"engine": "transformers"})
    if all_cores:
        settings = settings.model_copy(update={"threads": len(os.sched_getaffinity(0))})
    key = f"{settings.engine}:{base}:{settings.dtype}"
    engine = _warm.get(key)
    if isinstance(engine, _OnCpu) and settings.busy_gpu == "cpu":
        engine = _on_gpu(settings, base) or engine  # one that came free meanwhile
    if engine is None:
        release()
        engine = _on_gpu(settings, base) or _built(settings, base)
    elif isinstance(engine, _OnCpu):
        engine.set_threads(settings.threads)
    _warm[key] = engine
    return engine


@lru_cache(maxsize=8)
def engine_elsewhere(model: str, url: str, key_variable: str | None) -> Engine:
    """Return the engine for a model that a server has. It is kept beside the warm one: it takes no memory of a model.

    Raises:
        SettingsError: the key that the server needs is not set here, or a proxy's address can't be used.
    """
    from workers.inference.remote.access import key_for, key_in
    from workers.inference.remote.engine import OpenAIEngine

    key = key_for(url) if key_variable is None else key_in(key_variable)
    return OpenAIEngine(url, api_key=key, model=model, concurrency=get_settings().server_concurrency)


def release() -> None:
    """Let go of the warm engine: its memory is free when this returns, and the GPU that it was on."""
    for engine in _warm.values():
        if isinstance(engine, (GpuEngine, ServedEngine)):
            engine.close()
    _warm.clear()


def _on_gpu(settings: Settings, base: str) -> GpuEngine | None:
    """Return an engine on a GPU that is free; None where the settings, or what there is, leave it to this process.

    Raises:
        SettingsError: there is no GPU that can be used, and the settings ask for one.
        Busy: every GPU is held, and the settings say to wait.
    """
    if settings.device == "cpu" or not getattr(builder_of(settings.engine), "ON_GPU", False):
        return None
    if not _gpus():
        if settings.device == "cuda":
            raise SettingsError("TWEETMILL_DEVICE=cuda, and this worker sees no GPU: `nvidia-smi -L` and CUDA_VISIBLE_DEVICES tell which")
        return None
    try:
        return GpuEngine(settings, base, patience=PATIENCE if settings.busy_gpu == "wait" else 0.0)
    except Busy:
        if settings.busy_gpu == "wait":
            raise
    except UnusableDevice as error:
        if settings.device == "cuda":
            raise SettingsError(f"TWEETMILL_DEVICE=cuda: {error}") from error
        logger.warning("engine: on the CPU, though there is a GPU: %s", error)
        _unusable.append(str(error))
    return None


def _built(settings: Settings, base: str) -> Engine:
    """Return an engine in this process, on the CPU where GPUs are to be held, or what asks a server, which holds its own GPU."""
    builder = builder_of(settings.engine)
    return builder.build(settings if isinstance(builder, ServerBuilder) else _on_cpu(settings), base)


def _gpus() -> tuple[str, ...]:
    return () if _unusable else driver.usable_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES"))


def _on_cpu(settings: Settings) -> Settings:
    """Return the settings of an engine in this process: where there are GPUs to be held, it must not take one that is not."""
    return settings.model_copy(update={"device": "cpu"}) if _gpus() else settings
