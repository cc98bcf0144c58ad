"""The endpoint of `tweetmill serve` under 64 clients at once: how long an answer takes, how many come, and whether each is its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from benchmarks.inference import subject_of
from benchmarks.measure import ROUNDS, CannotRun
from benchmarks.servers import ROOT
from tests.support.endpoint import TOKEN, EndpointProcess, serving
from tests.support.tiny_model import build_tiny_model
from workers.configuration.settings_sources import default_home
from workers.database import transaction
from workers.settings import ENVIRONMENT, get_settings

CLIENTS, QUICK_CLIENTS = 64, 4
EACH = 2
"""Requests that a client sends, one after the other."""

_FIRST_NUMBER = 10_000  # each tweet has a number of its own, which no other tweet's answer may have


@dataclass
class Served:
    """What clients saw of one model: a row of seconds a round, and how many answers had another tweet's number."""

    clients: int
    seconds: list[list[float]] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    own: int = 0
    foreign: int = 0
    failed: int = 0

    def as_dict(self) -> dict[str, object]:
        """For JSON: medians of the rounds."""
        return {
            "clients": self.clients,
            "rounds": len(self.seconds),
            "requests": sum(map(len, self.seconds)),
            "p50_seconds": statistics.median(_percentile(row, 50) for row in self.seconds),
            "p95_seconds": statistics.median(_percentile(row, 95) for row in self.seconds),
            "a_second": statistics.median(len(row) / wall for row, wall in zip(self.seconds, self.walls, strict=True)),
            "own_number": self.own,
            "foreign_number": self.foreign,
            "failed": self.failed,
        }


@dataclass(frozen=True)
class Report:
    """What each model came to."""

    found: dict[str, Served]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {name: each.as_dict() for name, each in self.found.items()}

    def lines(self) -> list[str]:
        """For people."""
        told = []
        for name, each in self.found.items():
            row: dict[str, Any] = each.as_dict()
            told.append(
                f"{name}: {row['clients']} clients, p50 {row['p50_seconds']:.2f} s, p95 {row['p95_seconds']:.2f} s, {row['a_second']:.1f}"
                f" answers a second; of {row['requests']} answers {row['own_number']} have their tweet's number, {row['foreign_number']}"
                f" another's, {row['failed']} failed"
            )
        return told


def run(*, quick: bool) -> Report:
    """Serve the engine that only echoes, a tiny random model, and the demo's model, or its base, with and without the guard.

    Raises:
        CannotRun: an endpoint does not start.
    """
    home = get_settings().home
    tiny = build_tiny_model(home / "tiny")
    models = {"echo": "tiny", "tiny": str(tiny)}
    if not quick:
        with contextlib.suppress(CannotRun):
            real = str(subject_of(default_home(ENVIRONMENT).expanduser(), quick=quick).model)
            models |= {"135M": real, "135M, no guard": real}
    with transaction() as connection:
        for name, base_name in models.items():
            connection.execute(
                text("INSERT INTO model (name, base, method, stage) VALUES (:name, :base, 'none', 'summary')"),
                {"name": name, "base": base_name},
            )
    clients, rounds, each = (QUICK_CLIENTS, 1, 1) if quick else (CLIENTS, ROUNDS, EACH)
    return Report({name: _served(home, name, clients, rounds, each) for name in models})


def _served(folder: Path, name: str, clients: int, rounds: int, each: int) -> Served:
    own = {"PYTHONPATH": str(ROOT), "TWEETMILL_THREADS": "", "OMP_NUM_THREADS": ""}
    own["TWEETMILL_ENGINE"] = "echo" if name == "echo" else "transformers"
    options = ["--queue", "512", "--timeout", "600", *["--no-guard"] * name.endswith("no guard")]
    found = Served(clients)
    try:
        with serving(folder, name, *options, **own) as endpoint:
            asyncio.run(_round(endpoint, found, clients, 1, 0))  # does not count
            found = Served(clients)
            for place in range(rounds):
                asyncio.run(_round(endpoint, found, clients, each, place + 1))
    except AssertionError as error:
        raise CannotRun(f"the endpoint did not start: {str(error)[-500:]}") from None
    return found


async def _round(endpoint: EndpointProcess, found: Served, clients: int, each: int, place: int) -> None:
    began = time.monotonic()
    answered = await asyncio.gather(*(_client(endpoint, _numbers(place, client, each)) for client in range(clients)))
    found.walls.append(time.monotonic() - began)
    rows = [row for of_client in answered for row in of_client]
    found.seconds.append([seconds for _, seconds, _ in rows])
    sent = {number for number, _, _ in rows}
    for number, _, answer in rows:
        numbers = set(map(int, re.findall(r"\d{5,}", answer or "")))
        found.own += number in numbers
        found.foreign += bool(numbers & sent - {number})
        found.failed += answer is None


def _numbers(place: int, client: int, each: int) -> Sequence[int]:
    return [_FIRST_NUMBER + place * 1000 + client * each + turn for turn in range(each)]


async def _client(endpoint: EndpointProcess, numbers: Sequence[int]) -> list[tuple[int, float, str | None]]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    rows = []
    async with httpx.AsyncClient(base_url=endpoint.url, headers=headers, timeout=600) as client:
        for number in numbers:
            tweet = f"OMG bus {number} was late AGAIN this morning and I missed my train to Oslo, 3rd time this week #fail"
            began = time.monotonic()
            summary = None
            with contextlib.suppress(httpx.TransportError):
                answer = await client.post("/summarize", content=json.dumps({"text": tweet}))
                summary = answer.json()["summary"] if answer.status_code == 200 else None
            rows.append((number, time.monotonic() - began, summary))
    return rows


def _percentile(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] if len(seconds) > 1 else seconds[0]
