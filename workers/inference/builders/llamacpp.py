"""Builds the engine that asks llama.cpp's server, which this worker starts and supervises: on the CPU, with the weights in a GGUF file."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from workers.errors import SettingsError
from workers.inference.served.engine import ServedEngine
from workers.inference.served.program import Program
from workers.settings import Settings

SLOTS, MOST_SLOTS = 16, 256
"""Requests that are decoded together, where the setting says nothing, and at most."""

CONTEXT = 2048
"""Tokens of a prompt and its answer, at most: memory for so many is taken for each slot."""

FOLDER = "gguf"
"""In the folder of models: files that a server is starting with."""

# A program to the supervisor, as vLLM's is: nothing here imports it.
_SERVER = "workers.exports.engines.llama_server"

_REFUSALS = {
    r"^(?:NotExportable|UnusableBase|UnusableTemplate): ": "llama.cpp can't run it as transformers does, as logs/llamacpp-cpu.log says",
    r"^CannotLoad: ": "llama.cpp does not load it, or there is not memory enough, as logs/llamacpp-cpu.log says",
    r"^NoRoom: ": "there is not enough room on the disk for its weights as GGUF, as logs/llamacpp-cpu.log says",
}


def program(settings: Settings) -> Program:
    """Return how llama.cpp's server is started.

    Raises:
        SettingsError: it is not installed, or the settings ask for a GPU or for more requests at once than it can answer.
    """
    if settings.device == "cuda":
        raise SettingsError("TWEETMILL_ENGINE=llamacpp computes on the CPU: leave TWEETMILL_DEVICE out, or take another engine")
    if not (find_spec("xllamacpp") and find_spec("gguf")):
        raise SettingsError("llama.cpp is not installed here: `pip install 'tweetmill[gpu,llamacpp]'` where the worker runs")
    slots = settings.requests_at_once(SLOTS)
    if slots > MOST_SLOTS:
        raise SettingsError(f"TWEETMILL_SERVER_CONCURRENCY: llama.cpp answers at most {MOST_SLOTS} requests at once")
    threads = settings.threads or len(os.sched_getaffinity(0))
    return Program(
        name="llamacpp",
        command=(
            *(sys.executable, "-P", "-m", _SERVER, "{model}", "{socket}"),
            *("--quant", settings.llamacpp_quant, "--context", "{length}", "--slots", str(slots), "--threads", str(threads)),
            *("--scratch", str(settings.models_folder / FOLDER)),
        ),
        key_variable="LLAMA_API_KEY",
        fixed={"HF_HUB_OFFLINE": "1"},
        refusals=_REFUSALS,
        longest=CONTEXT,
        on_gpu=False,
    )


def build(settings: Settings, base: str) -> ServedEngine:
    """Return what asks this worker's server with `base`, a folder or a hub id. It starts when something is first asked.

    Raises:
        SettingsError: as `program` does.
        UserError: the base can't be used.
    """
    return ServedEngine.of(program(settings), settings, base, SLOTS)
