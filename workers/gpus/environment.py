"""Builds the environment of the processes that compute: the ranks of a training, an engine on a GPU, a server of models."""

from __future__ import annotations

import os
from pathlib import Path

from workers.configuration.settings_sources import is_secret
from workers.settings import ENVIRONMENT

_OF_SERVERS = ("OPENAI_", "DATABASE_URL", "CELERY_BROKER_URL", "PGPASS", "TWEETMILL_DATABASE_", "TWEETMILL_BROKER_", "TRACKIO_")


def for_serving() -> dict[str, str]:
    """Return this process's environment for a server of models that is a program of its own: without servers, keys and our packages."""
    kept = {name: value for name, value in ENVIRONMENT.items() if not name.upper().startswith(_OF_SERVERS) and not is_secret(name)}
    return {**kept, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "PYTHONUNBUFFERED": "1"}


def for_computing() -> dict[str, str]:
    """Return this process's environment for a child that loads torch: without servers and keys, and with our packages first.

    Such a child connects to no server, so addresses and keys stay with the worker.
    """
    here = str(Path(__file__).parents[2])
    return {
        **{name: value for name, value in ENVIRONMENT.items() if not name.upper().startswith(_OF_SERVERS)},
        # CUDA would number the fastest device 0; the driver, by whose numbers devices are held, goes by their place on the bus.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "TOKENIZERS_PARALLELISM": "false",
        # Nothing is compiled; bitsandbytes, which PEFT imports where it is there, would load the compiler: a second of every start.
        "TORCHDYNAMO_DISABLE": ENVIRONMENT.get("TORCHDYNAMO_DISABLE", "1"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (here, ENVIRONMENT.get("PYTHONPATH")))),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
