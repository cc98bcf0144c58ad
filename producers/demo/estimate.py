"""Estimate how long the demo takes on this machine, from how fast it multiplies matrices."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from workers.errors import SettingsError

RATE, SECONDS = 287.0, 830.0
"""GFLOP/s in float32, as `workers.base_models.precision` measures it, of two cores of a server CPU with AVX-512; and what the demo took
there from the stack to the last summary with nothing beside it, more than half of it training."""


def measure_machine() -> dict[str, Any]:
    """Measure how fast this machine multiplies matrices, in a process of its own because that needs torch.

    Raises:
        SettingsError: torch is not installed, or can't be used here.
    """
    done = subprocess.run([sys.executable, "-P", "-m", "workers.base_models.precision"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SettingsError(f"the machine could not be measured: {last}. `pip install 'tweetmill[gpu]'` brings what it needs")
    return dict(json.loads(done.stdout))


def seconds(machine: dict[str, Any]) -> float:
    """Return how long the demo takes in float32 when nothing else runs: in proportion to the rates."""
    return SECONDS * RATE / float(machine["float32"])


def estimate_sentence(machine: dict[str, Any], gpus: int = 0) -> str:
    """Return the estimate in one sentence. Bfloat16 is only used where it is faster, or nearly as fast."""
    if gpus:
        return f"A few minutes from here: this machine has {gpus} GPU{'s' if gpus > 1 else ''}"
    about = "About" if machine["dtype"] == "float32" else "At most about"
    return f"{about} {seconds(machine) / 60:.0f} minutes from here: this machine multiplies at {machine['float32']:.0f} GFLOP/s in float32"
