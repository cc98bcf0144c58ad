"""Builds the engine that asks a vLLM server which this worker starts and supervises, one on each of its GPUs."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from workers.errors import SettingsError
from workers.gpus import driver
from workers.inference.served.engine import ServedEngine
from workers.inference.served.program import BASE_NAME, Program
from workers.settings import ENVIRONMENT, Settings

RANK = 16
"""Of the adapters that it loads, at most, as in the recipes: each reserves memory for as much."""

ON_GPU_CONCURRENCY, ON_CPU_CONCURRENCY = 128, 64
"""Requests open at once to a server on a GPU and to one on the CPU, where the setting says nothing."""

_OURS = (
    *("--host", "--port", "--uds", "--api-key", "--served-model-name", "--ssl-keyfile", "--root-path", "--config"),
    *("--trust-remote-code", "--enable-log-requests", "--enable-lora", "--headless", "--model", "--middleware"),
)
"""Arguments that would open the server to others, run code of a model's own, log tweets, or keep this worker from reaching it."""

_SHORTEST = 5  # characters of an argument that argparse completes: --hos, and not --h

_REFUSALS = {
    r"[Mm]odel architectures? .{0,200}(?:not supported|failed)": "vLLM does not know its architecture",
    r"does not support LoRA|Unsupported base model for LoRA": "vLLM has no adapters for it. Use TWEETMILL_ENGINE=transformers",
    r"requires you to execute the configuration file|trust_remote_code": "it needs code of its own, which is never run",
}


def program(settings: Settings) -> Program:
    """Return how vLLM is started.

    Raises:
        SettingsError: it is not installed, or its arguments can't be used.
    """
    arguments = _arguments(settings.vllm_arguments or "")
    on_cpu = _is_on_cpu(settings)
    threads = {"OMP_NUM_THREADS": str(settings.threads)} if on_cpu and settings.threads else {}
    return Program(
        name="vllm",
        command=(
            *(str(_installed(settings.vllm_program)), "serve", "{model}", "--served-model-name", BASE_NAME, "--uds", "{socket}"),
            *("--max-model-len", "{length}", "--dtype", _dtype(settings.dtype, on_cpu), "--generation-config", "vllm"),
            *("--enable-lora", "--max-lora-rank", str(RANK), "--max-loras", "2"),
            *("--no-enable-log-requests", "--disable-uvicorn-access-log"),
            *arguments,
        ),
        key_variable="VLLM_API_KEY",
        environment={"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_TARGET_DEVICE": "cpu"} if on_cpu else {},
        fixed={
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_SERVER_DEV_MODE": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            **threads,
        },
        refusals=_REFUSALS,
        rank=_rank(arguments) or RANK,
        merges=on_cpu and not _rank(arguments),
    )


def build(settings: Settings, base: str) -> ServedEngine:
    """Return what asks this worker's servers with `base`, a folder or a hub id. A server starts when something is first asked.

    Raises:
        SettingsError: vLLM is not installed, or its arguments can't be used.
        UserError: the base can't be used.
    """
    return ServedEngine.of(program(settings), settings, base, ON_CPU_CONCURRENCY if _is_on_cpu(settings) else ON_GPU_CONCURRENCY)


def _is_on_cpu(settings: Settings) -> bool:
    return settings.device == "cpu" or not driver.usable_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES"))


def _installed(named: Path | None) -> Path:
    beside = Path(sys.executable).with_name("vllm")
    found = named or (beside if os.access(beside, os.X_OK) else None) or shutil.which("vllm", path=ENVIRONMENT.get("PATH"))
    if found is None or not os.access(found, os.X_OK):
        where = f"there is no program {named}" if named else "vLLM is not installed here: there is no program vllm on the PATH"
        raise SettingsError(
            f"{where}. Install it into an environment of its own (python -m venv vllm && vllm/bin/pip install vllm), and name it with"
            " TWEETMILL_VLLM_PROGRAM=…/vllm/bin/vllm"
        )
    return Path(found)


def _arguments(text: str) -> list[str]:
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"TWEETMILL_VLLM_ARGUMENTS: it can't be taken apart as a shell would ({error})") from None
    for argument in arguments:
        name = argument.partition("=")[0].replace("_", "-")
        if len(name) >= _SHORTEST and any(ours.startswith(name) for ours in _OURS):
            raise SettingsError(f"TWEETMILL_VLLM_ARGUMENTS: {name} is for tweetmill to set")
    return arguments


def _rank(arguments: list[str]) -> int:
    """Return the rank that the arguments set the limit to; 0 where they say nothing."""
    words = [word for argument in arguments for word in argument.replace("_", "-").split("=", 1)]
    if "--max-lora-rank" not in words[:-1]:
        return 0
    value = words[len(words) - 1 - words[::-1].index("--max-lora-rank") + 1]
    if not value.isdecimal():
        raise SettingsError(f"TWEETMILL_VLLM_ARGUMENTS: --max-lora-rank is {value!r}: give a number")
    return int(value)


def _dtype(asked: str, on_cpu: bool) -> str:
    """Return the type of the weights: what the settings say, else the model's own, but on a CPU that would have to emulate it."""
    if asked != "auto" or not on_cpu:
        return asked
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return asked
    return "auto" if "avx512_bf16" in flags or "amx_bf16" in flags or "bf16" in flags.split() else "float32"
