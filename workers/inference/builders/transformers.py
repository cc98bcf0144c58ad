"""Builds the engine in this process: a Hugging Face model, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.catalog.models import locate_base
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.inference.local.engine import TransformersEngine

ON_GPU = True


def build(settings: Settings, base: str) -> TransformersEngine:
    """Load `base`, a folder or a hub id, on the device, with the threads and the type of weights that the settings name.

    Raises:
        UserError: the base can't be used.
    """
    from workers.inference.local.engine import TransformersEngine  # torch: imported when an engine is built

    return TransformersEngine(
        locate_base(base), threads=settings.threads, device=settings.device, dtype=settings.dtype, digests=settings.models_folder
    )
