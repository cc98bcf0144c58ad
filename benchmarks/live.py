"""A stream under a load that is set: at seven tenths of what a worker can, at twice that, and with every process killed on the way.

The posts come from the tests' own Jetstream server, which sends them at a rate and does not wait; the worker's engine echoes and sleeps
as a GPU would compute.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field

import psutil
from sqlalchemy import text

from benchmarks.load import free_port, tree, worker
from benchmarks.scale import NEW_MODEL, OPEN_SHARDS, ready
from benchmarks.servers import ROOT, empty, log_of, start_worker, wait_for
from deploy.local.home import Home
from deploy.local.servers import Valkey
from tests.support.jetstream_server import Jetstream, posts, serving
from workers.database import transaction
from workers.settings import get_settings

BATCH, SLEEP = 64, 0.5
"""Tweets of a shard, and seconds that the engine sleeps for it."""

STEADY, QUICK_STEADY = 600.0, 6.0
DOUBLE, QUICK_DOUBLE = 60.0, 4.0
KILLED_TWEETS, QUICK_KILLED_TWEETS = 20_000, 800
LEASE = {"TWEETMILL_LEASE": "4", "TWEETMILL_HEARTBEAT": "1", "TWEETMILL_UPKEEP_INTERVAL": "0.5", "TWEETMILL_REPUBLISH_AFTER": "2"}
_ROUNDS, _SPREAD, _BETWEEN = 3, 60.0, (2.0, 5.0)  # seconds: over which the posts come, and from one kill to the next
_PATIENCE = 1200.0  # seconds
_LATENCY = """
SELECT count(*) AS tweets,
       percentile_cont(ARRAY[0.5, 0.95, 0.99, 1.0]) WITHIN GROUP (ORDER BY extract(epoch FROM s.created_at - a.arrived_at)) AS at
FROM arrival a JOIN summary s USING (tweet)
"""
_COUNTS = """
SELECT (SELECT count(*) FROM tweet) AS tweets, (SELECT count(*) FROM arrival) AS arrivals,
       (SELECT count(DISTINCT tweet) FROM arrival) AS arrived, (SELECT count(*) FROM selection) AS selected,
       (SELECT count(DISTINCT tweet) FROM selection) AS selected_once, (SELECT count(*) FROM summary) AS summaries,
       (SELECT count(DISTINCT tweet) FROM summary) AS summarised
"""


@dataclass(frozen=True)
class Steady:
    """A load for a time: tweets a second that came and could be done, seconds from arrival to the stored summary, the process's memory."""

    share: float
    seconds: float
    capacity: float
    tweets: int
    lost: int
    p50: float
    p95: float
    p99: float
    longest: float
    most_backlog: int
    drained_after: float
    memory_mib_first: float
    memory_mib_most: float


@dataclass(frozen=True)
class Killed:
    """A stream whose processes were killed: each of its counts is the number of tweets, or something was lost or done twice."""

    tweets: int
    kills: dict[str, int]
    counts: dict[str, int]
    seconds: float


@dataclass
class Live:
    """All parts."""

    loads: list[Steady] = field(default_factory=list)
    killed: list[Killed] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"loads": [asdict(one) for one in self.loads], "killed": [asdict(one) for one in self.killed]}

    def lines(self) -> list[str]:
        """For people."""
        told = [
            f"{one.share:g} of {one.capacity:.0f} tweets a second for {one.seconds:g} s: {one.tweets:,} tweets, {one.lost} lost, from"
            f" arrival to summary p50 {one.p50:.2f} s, p95 {one.p95:.2f} s, p99 {one.p99:.2f} s, at most {one.longest:.1f} s; backlog at"
            f" most {one.most_backlog:,}, drained {one.drained_after:.1f} s after the last post; memory of the stream"
            f" {one.memory_mib_first:.0f} MiB at first, at most {one.memory_mib_most:.0f}"
            for one in self.loads
        ]
        for one in self.killed:
            kills = ", ".join(f"{name} {count}" for name, count in one.kills.items())
            counts = ", ".join(f"{name} {count:,}" for name, count in one.counts.items())
            told.append(f"{one.tweets:,} tweets in {one.seconds:.0f} s, killed: {kills}; then {counts}")
        return told


def run(*, quick: bool) -> Live:
    """Measure a worker's capacity, then run both loads, then the killings."""
    found = Live()
    with _echo_worker():
        capacity = _capacity(400 if quick else 4_000)
        for share, seconds in ((0.7, QUICK_STEADY if quick else STEADY), (2.0, QUICK_DOUBLE if quick else DOUBLE)):
            found.loads.append(_load(share, seconds, capacity))
    found.killed.append(_killed(QUICK_KILLED_TWEETS if quick else KILLED_TWEETS, quick=quick))
    return found


@contextmanager
def _echo_worker() -> Iterator[None]:
    log_of("summarization", get_settings().home).unlink(missing_ok=True)
    with worker(0, get_settings().home, str(SLEEP)) as process:
        ready([process])
        yield


def _capacity(tweets: int) -> float:
    """Tweets a second that the worker does where all of them are there already."""
    _fresh()
    with serving(posts(tweets)) as server, _running(server):
        _settled(tweets)
    with transaction() as connection:
        spent = "SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM job WHERE parent IS NOT NULL"
        return tweets / float(connection.execute(text(spent)).scalar_one())


def _load(share: float, seconds: float, capacity: float) -> Steady:
    _fresh()
    tweets = int(share * capacity * seconds)
    with serving(posts(tweets)) as server:
        server.per_second = share * capacity
        with _running(server) as stream:
            wait_for(lambda: _counts()["tweets"] > 0, "the first post", 0.1)
            process, memory = psutil.Process(stream.process.pid), list[float]()
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                time.sleep(0.5)
                memory.append(process.memory_info().rss / 2**20)
            ended = time.monotonic()
            _settled(tweets)
            drained = time.monotonic() - ended
            backlog = max(stream.backlogs, default=0)
    with transaction() as connection:
        row = connection.execute(text(_LATENCY)).one()
    p50, p95, p99, longest = map(float, row.at)
    return Steady(
        share, seconds, capacity, tweets, tweets - int(row.tweets), p50, p95, p99, longest, backlog, drained, memory[0], max(memory)
    )


def _killed(tweets: int, *, quick: bool) -> Killed:
    """Kill the stream's process, the worker, the engine's server and Valkey, each in turn and several times, until all is written."""
    _fresh()
    folder = get_settings().home
    valkey = Valkey(Home(folder))
    kills = dict.fromkeys(("engine server", "worker", "stream", "valkey"), 0)
    began = time.monotonic()
    chance = random.Random(1)
    with ExitStack() as stack:
        server = stack.enter_context(serving(posts(tweets)))
        server.per_second = tweets / (8.0 if quick else _SPREAD)
        port = str(free_port())
        served = {"TWEETMILL_ENGINE": "openai", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "TWEETMILL_SERVER_CONCURRENCY": "64"}
        keep = [
            stack.enter_context(_Kept("engine server", lambda: _spawned("benchmarks.slow_server", "0.05", port))),
            stack.enter_context(
                _Kept("worker", lambda: start_worker("workers.app", "summarization", folder, processes=1, **served, **LEASE))
            ),
            stack.enter_context(_Kept("stream", lambda: _stream(server))),
        ]
        stack.enter_context(_Kept("upkeep", lambda: start_worker("workers.app", "upkeep", folder, processes=1, **LEASE)))
        for _ in range(1 if quick else _ROUNDS):
            for kept in keep:
                time.sleep(chance.uniform(*_BETWEEN))
                kept.kill()
                kills[kept.name] += 1
            time.sleep(chance.uniform(*_BETWEEN))
            _kill_valkey(valkey)
            kills["valkey"] += 1
        _settled(tweets)
    return Killed(tweets, kills, _counts(), time.monotonic() - began)


@dataclass
class _Stream:
    """A stream's process, and the backlogs that it told."""

    process: subprocess.Popen[bytes]
    backlogs: list[int] = field(default_factory=list)

    def listen(self) -> None:
        """Take up what it says, line by line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.backlogs.append(int(json.loads(line)["backlog"]))


@contextmanager
def _running(server: Jetstream) -> Iterator[_Stream]:
    stream = _Stream(_stream(server, stdout=subprocess.PIPE))
    listener = threading.Thread(target=stream.listen, daemon=True)
    listener.start()
    try:
        yield stream
    finally:
        stream.process.terminate()
        stream.process.wait(60)
        listener.join(10)


def _stream(server: Jetstream, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    arguments = ["stream", server.first, "--name", "live", "--model", "bench", "--batch", str(BATCH), "--max-age", "1", "--json"]
    command = [sys.executable, "-c", "import sys; from producers.cli import main; sys.exit(main(sys.argv[1:]))", *arguments]
    with (get_settings().home / "stream.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=log)


def _spawned(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)


class _Kept:
    """A process that a new one takes the place of when it is killed, as a supervisor does it."""

    def __init__(self, name: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.name, self._start = name, start
        self._process = start()

    def kill(self) -> None:
        """Kill it with all that it started, and start another."""
        self._end()
        self._process = self._start()

    def _end(self) -> None:
        for each in tree(self._process):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait(30)

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def _kill_valkey(valkey: Valkey) -> None:
    running = valkey.process()
    assert running is not None
    running.kill()
    running.wait(10)
    time.sleep(0.5)
    valkey.start()


def _fresh() -> None:
    empty("job", "tweet", "model", "worker", "stream")
    with transaction() as connection:
        connection.execute(text(NEW_MODEL))


def _settled(tweets: int) -> None:
    wait_for(lambda: _counts()["summaries"] >= tweets and _nothing_open(), f"{tweets} summaries", 0.25, _PATIENCE)


def _nothing_open() -> bool:
    with transaction() as connection:
        return not connection.execute(text(OPEN_SHARDS)).scalar_one()


def _counts() -> dict[str, int]:
    with transaction() as connection:
        return {name: int(value) for name, value in connection.execute(text(_COUNTS)).one()._mapping.items()}
