"""`python -m benchmarks [NAME …] [--json] [--quick]`: measure, and say on what."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout

from benchmarks.measure import CannotRun, Report, machine

NEEDS_SERVERS = {
    "inference": False,
    "ablation": False,
    "training": False,
    "imports": False,
    "readers": False,
    "ingest": True,
    "enqueue": True,
    "ledger": True,
    "plans": True,
    "retention": True,
    "end_to_end": True,
    "synthesis": True,
    "kills": True,
    "scale": True,
    "live": True,
    "serving": True,
    "flight": False,
}
"""The benchmarks, in the order they run in: those that look for a user's model before the servers hide his home."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks named, or all; return 1 when one that was named could not run."""
    asked = _asked(arguments)
    names = [name for name in NEEDS_SERVERS if name in asked.names or not asked.names]
    told: dict[str, object] = {"machine": machine(), "quick": asked.quick}
    if not asked.json:
        print(", ".join(f"{name} {value}" for name, value in machine().items()))
    refused = 0
    with ExitStack() as stack:
        started = False
        for name in names:
            if NEEDS_SERVERS[name] and not started:
                from benchmarks.servers import servers

                stack.enter_context(servers())
                started = True
            outcome = _measured(name, quick=asked.quick)
            refused += isinstance(outcome, str)
            told[name] = {"cannot_run": outcome} if isinstance(outcome, str) else outcome.as_dict()
            if not asked.json:
                print("\n".join(["", f"[{name}]", *([outcome] if isinstance(outcome, str) else outcome.lines())]), flush=True)
    if asked.json:
        print(json.dumps(told, indent=2))
    return int(bool(asked.names) and refused > 0)


def _measured(name: str, *, quick: bool) -> Report | str:
    """What it found, or why it can't be run."""
    with redirect_stdout(sys.stderr):  # what libraries print there is not the JSON that was asked for
        run: Callable[..., Report] = importlib.import_module(f"benchmarks.{name}").run
        try:
            return run(quick=quick)
        except CannotRun as reason:
            return str(reason)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Speed as ratios of ways that take turns, and what reliability costs and brings."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NEEDS_SERVERS)}; default: all")
    parser.add_argument("--json", action="store_true", help="machine and ratios as JSON")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.names) - set(NEEDS_SERVERS))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}. There are {', '.join(NEEDS_SERVERS)}")
    return asked


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the servers are ended then, too
    sys.exit(main())
