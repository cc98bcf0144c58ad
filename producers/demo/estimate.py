"""How long the demo will take on this machine, from how fast it multiplies matrices."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from workers.errors import SettingsError


@dataclass(frozen=True)
class Measured:
    """A demo that ran: GFLOP/s of its machine as `workers.precision` tells them, and seconds from the stack to the last summary."""

    rate: float
    seconds: float


RAN = {"bfloat16": Measured(rate=165, seconds=830), "float32": Measured(rate=260, seconds=900)}
"""Demos that ran on two quiet cores of a server CPU with AVX-512, by the type of their weights. docs/evaluation.md has the figures."""


def measure() -> dict[str, Any]:
    """What this machine does with matrices, by a process of its own because that needs torch.

    Raises:
        SettingsError: torch is not installed, or can't be used here.
    """
    done = subprocess.run([sys.executable, "-P", "-m", "workers.precision"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SettingsError(f"the machine could not be measured: {last}. `pip install 'tweetmill[gpu]'` brings what it needs")
    return dict(json.loads(done.stdout))


def seconds(machine: dict[str, Any]) -> float:
    """How long the demo will take, should nothing else run: the time of a demo that ran, in proportion to the rates."""
    ran = RAN[machine["dtype"]]
    return ran.seconds * ran.rate / float(machine[machine["dtype"]])


def told(machine: dict[str, Any]) -> str:
    """One sentence for who waits."""
    minutes, dtype = seconds(machine) / 60, machine["dtype"]
    return f"About {minutes:.0f} minutes from here: this machine multiplies at {machine[dtype]:.0f} GFLOP/s in {dtype}"
