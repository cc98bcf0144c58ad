"""What a producer does not have to load: the whole command line, against torch alone, each in a new interpreter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from benchmarks.measure import CannotRun, Comparison, Way, compare


def run(*, quick: bool) -> Comparison:
    """Import each once a round; `quick` changes nothing, an import is small enough."""
    del quick
    if importlib.util.find_spec("torch") is None:
        raise CannotRun("torch is not installed: `pip install 'tweetmill[gpu]'`")
    return compare(
        Way("import producers.cli", lambda: _import("producers.cli")), [Way("import torch", lambda: _import("torch"))], unit="interpreter"
    )


def _import(module: str) -> int:
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, capture_output=True)
    return 1
