"""Requests that the engine of a server keeps open, where that answers after a fixed time whatever its load."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from benchmarks.measure import ROUNDS
from benchmarks.servers import ROOT
from schemas.chat import Message
from workers.inference.engine import Sampling
from workers.inference.remote.engine import OpenAIEngine

CASES = ((0.2, 8), (0.2, 64), (0.2, 256), (2.0, 256))
"""Seconds an answer, and requests that may be open."""

ROUNDS_OF_ANSWERS, QUICK_ROUNDS_OF_ANSWERS = 10, 2


@dataclass(frozen=True)
class Open:
    """Requests at once: allowed, on average, at most; how many a second, and the client's microseconds of a core for each."""

    seconds: float
    allowed: int
    mean: float
    most: int
    rate: float
    cpu: float


@dataclass(frozen=True)
class Flight:
    """What was found at each setting, the medians of the rounds."""

    found: list[Open]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"found": [asdict(one) for one in self.found]}

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{one.seconds:g} s an answer, {one.allowed} allowed: {one.mean:.0f} open on average, {one.most:.0f} at most;"
            f" {one.rate * one.seconds / one.allowed:.0%} of the rate that the answers allow; {one.cpu:.0f} us of a core a request"
            for one in self.found
        ]


def run(*, quick: bool) -> Flight:
    """Ask for ten rounds of answers in each case, three times."""
    rounds = QUICK_ROUNDS_OF_ANSWERS if quick else ROUNDS_OF_ANSWERS
    found = []
    for seconds, allowed in CASES:
        with _server(seconds) as port:
            found.append(_median([_ask(port, seconds, allowed, rounds) for _ in range(ROUNDS)]))
    return Flight(found)


def _ask(port: int, seconds: float, allowed: int, rounds: int) -> Open:
    engine = OpenAIEngine(f"http://127.0.0.1:{port}/v1", "", "served", concurrency=allowed)
    system = Message("system", "Summarize the tweet.")
    prompts = [(system, Message("user", f"the bus number {number} was late")) for number in range(allowed * rounds)]
    try:
        engine.generate(prompts[:allowed], Sampling())  # opens the connections
        _load(port)
        began, cpu = time.perf_counter(), time.process_time()
        engine.generate(prompts, Sampling())
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    finally:
        engine.close()
    told = _load(port)
    return Open(seconds, allowed, told["open_mean"], told["open_most"], len(prompts) / took, cpu / len(prompts) * 1e6)


def _median(rounds: list[Open]) -> Open:
    return Open(*(statistics.median(getattr(one, name) for one in rounds) for name in Open.__dataclass_fields__))


def _load(port: int) -> dict[str, Any]:
    return dict(httpx.get(f"http://127.0.0.1:{port}/load").json())


@contextmanager
def _server(seconds: float) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.slow_server", str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
