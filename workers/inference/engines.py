"""The worker's warm engine: built when first needed, kept for every later job of the process."""

from __future__ import annotations

import os

from workers.catalog.models import locate_base
from workers.errors import SettingsError
from workers.inference.engine import Engine
from workers.settings import ENVIRONMENT, Settings, get_settings
from workers.settings_sources import check_proxies

_warm: dict[str, Engine] = {}


def get_engine(base: str, *, all_cores: bool = False, local: bool = False) -> Engine:
    """The engine for `base`, by the door that the settings name: in this process, or an OpenAI-compatible server.

    One base is kept: a worker that turns to another frees the first one's memory.

    Args:
        base: folder or hub id of the base model.
        all_cores: for work that is one job and not a shard among others: use the whole machine's cores.
        local: in this process, whatever door the settings name.
    """
    settings = get_settings()
    if local:
        settings = settings.model_copy(update={"engine": "transformers"})
    if all_cores:
        settings = settings.model_copy(update={"threads": len(os.sched_getaffinity(0))})
    key = f"{settings.engine}:{base}:{settings.threads}:{settings.dtype}"
    if key not in _warm:
        _warm.clear()
        _warm[key] = _build(settings, base)
    return _warm[key]


def _build(settings: Settings, base: str) -> Engine:
    if settings.engine == "openai":
        from workers.inference.remote.engine import OpenAIEngine

        address = settings.openai_address()
        check_proxies(ENVIRONMENT)
        if address is None:
            raise SettingsError("TWEETMILL_ENGINE=openai needs OPENAI_BASE_URL, the address of an OpenAI-compatible server")
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
        return OpenAIEngine(address, api_key=key, model=base)
    from workers.inference.local.engine import TransformersEngine

    return TransformersEngine(locate_base(base), threads=settings.threads, dtype=settings.dtype, digests=settings.models_folder)
