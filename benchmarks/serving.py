"""The endpoint of `tweetmill serve` under 64 clients at once: how long an answer takes, how many come, and whether each is its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import statistics
import time
from collections import Counter
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

_FIRST_NUMBER = 10_000

Answer = tuple[str, float, str | None, int]
"""A tweet, the seconds until it was answered, its summary, and how often it was tried; without a summary it failed."""


@dataclass
class Served:
    """What clients saw of one model: a row of seconds a round, and whose words the answers had.

    Of an answer's words those count that only one tweet of its round has: `own` answers have most of their own tweet's, `foreign` ones
    more of another's. `again` were written twice, by the guard.
    """

    clients: int
    seconds: list[list[float]] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    own: int = 0
    foreign: int = 0
    again: int = 0
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
            "own_words": self.own,
            "foreign_words": self.foreign,
            "written_again": self.again,
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
                f" answers a second; of {row['requests']} answers {row['own_words']} have their own tweet's words, {row['foreign_words']}"
                f" another's, {row['written_again']} were written again, {row['failed']} failed"
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
    real = None
    if not quick:
        with contextlib.suppress(CannotRun):
            real = subject_of(default_home(ENVIRONMENT).expanduser(), quick=quick)
            models |= {"135M": str(real.model), "135M, no guard": str(real.model)}
    with transaction() as connection:
        for name, base_name in models.items():
            connection.execute(
                text("INSERT INTO model (name, base, method, stage) VALUES (:name, :base, 'none', 'summary')"),
                {"name": name, "base": base_name},
            )
    clients, rounds, each = (QUICK_CLIENTS, 1, 1) if quick else (CLIENTS, ROUNDS, EACH)
    numbered = [
        f"OMG bus {_FIRST_NUMBER + place} was late AGAIN this morning and I missed my train to Oslo, 3rd time this week #fail"
        for place in range(clients * each)
    ]
    found = {}
    for name in models:
        tweets = real.texts[: clients * each] if real and name.startswith("135M") else numbered
        found[name] = _served(home, name, tweets, clients, rounds)
    return Report(found)


def _served(folder: Path, name: str, tweets: Sequence[str], clients: int, rounds: int) -> Served:
    own = {"PYTHONPATH": str(ROOT), "TWEETMILL_THREADS": "", "OMP_NUM_THREADS": ""}
    own["TWEETMILL_ENGINE"] = "echo" if name == "echo" else "transformers"
    options = ["--queue", "512", "--timeout", "600", *["--no-guard"] * name.endswith("no guard")]
    try:
        with serving(folder, name, *options, **own) as endpoint:
            asyncio.run(_round(endpoint, Served(clients), tweets[:clients]))  # does not count
            found = Served(clients)
            for _ in range(rounds):
                asyncio.run(_round(endpoint, found, tweets))
    except AssertionError as error:
        raise CannotRun(f"the endpoint did not start: {str(error)[-500:]}") from None
    return found


async def _round(endpoint: EndpointProcess, found: Served, tweets: Sequence[str]) -> None:
    began = time.monotonic()
    answered = await asyncio.gather(*(_client(endpoint, tweets[client :: found.clients]) for client in range(found.clients)))
    found.walls.append(time.monotonic() - began)
    rows = [row for of_client in answered for row in of_client]
    found.seconds.append([seconds for _, seconds, _, _ in rows])
    owners = _owners(tweets)
    for tweet, _, summary, tries in rows:
        words = Counter(owners[word] for word in _words(summary or "") if word in owners)
        most = max(words.values(), default=0)
        found.own += bool(most) and words[tweet] == most
        found.foreign += words[tweet] < most
        found.again += tries > 1
        found.failed += summary is None


def _owners(tweets: Sequence[str]) -> dict[str, str]:
    """The words that one of the tweets has alone, and which it is."""
    tweets_of: dict[str, list[str]] = {}
    for tweet in tweets:
        for word in _words(tweet):
            tweets_of.setdefault(word, []).append(tweet)
    return {word: those[0] for word, those in tweets_of.items() if len(those) == 1}


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


async def _client(endpoint: EndpointProcess, tweets: Sequence[str]) -> list[Answer]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    rows: list[Answer] = []
    async with httpx.AsyncClient(base_url=endpoint.url, headers=headers, timeout=600) as client:
        for tweet in tweets:
            began = time.monotonic()
            summary, tries = None, 0
            with contextlib.suppress(httpx.TransportError):
                answer = await client.post("/summarize", content=json.dumps({"text": tweet}))
                if answer.status_code == 200:
                    summary, tries = answer.json()["summary"], answer.json()["tries"]
            rows.append((tweet, time.monotonic() - began, summary, tries))
    return rows


def _percentile(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] if len(seconds) > 1 else seconds[0]
