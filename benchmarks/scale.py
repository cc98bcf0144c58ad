"""Many tweets end to end with an engine that only echoes, and how workers add up whose engine sleeps as a GPU would compute.

`python -m benchmarks.scale 1000000 2` does the first part with a million tweets and two workers, which takes long; with no worker it
ingests and asks alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from sqlalchemy import text

from benchmarks.load import Watch, look, peak_mib_of, postgres_seconds, seconds_of, tree, verb, worker
from benchmarks.measure import ROUNDS, machine
from benchmarks.servers import empty, log_of, wait_for
from workers.database import transaction
from workers.settings import get_settings

SIZES, QUICK_SIZES = (10_000, 100_000), (512, 1_024)
SHARD = 1_000
COUNTS, QUICK_COUNTS = (1, 2, 8, 32), (1, 2)
SLEEP, SLEEPING_SHARD, SHARDS_A_WORKER, QUICK_SHARDS = 4.0, 64, 3, 1

_TEXT = (
    "bus late again train boss happy missed flight cancelled coffee game night work home phone movie friends dinner rain weather traffic"
    " street party music song concert ticket price market food pizza score team never really u 2nite gr8 lol omg the was with"
)
_PATIENCE = 3 * 3600.0  # seconds
_EIGHT = 8
NEW_MODEL = "INSERT INTO model (name, base, method, stage) VALUES ('bench', 'none', 'none', 'summary')"
_OPEN = "SELECT count(*) FROM job WHERE state IN ('queued', 'running')"
OPEN_SHARDS = f"{_OPEN} AND parent IS NOT NULL"
# From the end of a shard to the beginning of the next one of the same worker.
_GAP = """
WITH shard AS (SELECT started_at, finished_at, lag(finished_at) OVER (PARTITION BY owner ORDER BY started_at) AS before
               FROM job WHERE parent IS NOT NULL)
SELECT coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - before)), 0) AS gap,
       coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)), 0) AS shard
FROM shard WHERE before IS NOT NULL
"""
_TABLES = """
SELECT relname, pg_total_relation_size(oid) AS size FROM pg_class
WHERE relname IN ('tweet', 'summary', 'selection', 'job', 'job_event') AND relkind = 'r'
"""


@dataclass(frozen=True)
class EndToEnd:
    """What so many tweets took. Times are in microseconds a tweet: of the clock, and of cores where they say cpu; memory in MiB."""

    tweets: int
    ingest: float
    ingest_cpu: float
    ask: float
    ask_cpu: float
    summarize: float
    worker_cpu: float
    postgres_cpu: float
    producer_mib: float
    worker_mib: float
    redis_mib: float
    connections: int
    postgres_bytes: float
    wal_bytes: float
    table_bytes: dict[str, float]


@dataclass(frozen=True)
class Adding:
    """How many times as fast so many workers were as the one alone, in each round.

    Attributes:
        gap: between two shards of a worker, as a part of a shard; 0 where a worker does several at once.
        busy: the part of the machine's cores.
    """

    workers: int
    speed_ups: list[float]
    gap: float
    busy: float
    connections: int


@dataclass
class Scale:
    """Both parts."""

    sizes: list[EndToEnd] = field(default_factory=list)
    workers: list[Adding] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"end_to_end": [asdict(one) for one in self.sizes], "workers": [asdict(one) for one in self.workers]}

    def lines(self) -> list[str]:
        """For people: Markdown."""
        names = [name for name in EndToEnd.__dataclass_fields__ if name != "table_bytes"]
        told = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
        told += ["| " + " | ".join(f"{getattr(one, name):,.0f}" for name in names) + " |" for one in self.sizes]
        for one in self.sizes:
            told.append(f"{one.tweets:,}: bytes a tweet " + ", ".join(f"{name} {size:,.0f}" for name, size in one.table_bytes.items()))
        for adding in self.workers:
            ups = adding.speed_ups
            told.append(
                f"{adding.workers} workers: {statistics.median(ups):.2f} times one (min {min(ups):.2f}, max {max(ups):.2f}),"
                f" {adding.gap:.1%} of a shard between two, {adding.busy:.0%} of the cores busy, {adding.connections} connections"
            )
        return told


def run(*, quick: bool) -> Scale:
    """Both parts: 10,000 and 100,000 tweets through one worker, and 1, 2, 8 and 32 workers that sleep four seconds a batch."""
    counts, shards = (QUICK_COUNTS, QUICK_SHARDS) if quick else (COUNTS, SHARDS_A_WORKER)
    found = Scale([end_to_end(size) for size in (QUICK_SIZES if quick else SIZES)])
    found.workers = adding(counts, shards)
    return found


def end_to_end(tweets: int, workers: int = 1) -> EndToEnd:
    """Ingest a file, ask for all summaries, and have workers write them."""
    folder = get_settings().home
    file = folder / "bench.jsonl"
    _write(file, tweets)
    _fresh()
    log_of("summarization", folder).unlink(missing_ok=True)
    before, postgres_before = look(), postgres_seconds()
    with ExitStack() as stack:
        started = [stack.enter_context(worker(number, folder, "0")) for number in range(workers)]
        ready(started)
        ingest = verb("ingest", str(file), "--source", "bench")
        watch = stack.enter_context(Watch())
        cpu_before = sum(map(seconds_of, started))
        asked = verb("summarize", "bench", "--model", "bench", "--shard-size", str(SHARD))
        if workers:
            _done()
        seconds = time.perf_counter() - asked.ended + asked.seconds if workers else 0.0
        worker_cpu = sum(map(seconds_of, started)) - cpu_before
        memory = max((peak_mib_of(process) for one in started for process in tree(one)), default=0.0)
    after = look()
    million = 1e6 / tweets
    return EndToEnd(
        tweets=tweets,
        ingest=ingest.seconds * million,
        ingest_cpu=ingest.cpu * million,
        ask=asked.seconds * million,
        ask_cpu=asked.cpu * million,
        summarize=seconds * million,
        worker_cpu=worker_cpu * million,
        postgres_cpu=(postgres_seconds() - postgres_before) * million,
        producer_mib=max(ingest.peak_mib, asked.peak_mib),
        worker_mib=memory,
        redis_mib=watch.redis_mib,
        connections=watch.connections,
        postgres_bytes=(after["size"] - before["size"]) / tweets,
        wal_bytes=(after["wal"] - before["wal"]) / tweets,
        table_bytes={name: size / tweets for name, size in _tables().items()},
    )


def adding(counts: tuple[int, ...], shards: int) -> list[Adding]:
    """The same number of shards a worker, each four seconds of sleep, with ever more workers beside each other."""
    folder = get_settings().home
    log_of("summarization", folder).unlink(missing_ok=True)
    found: list[Adding] = []
    alone = 0.0
    with ExitStack() as stack:
        started: list[subprocess.Popen[bytes]] = []
        working = 0
        for count in counts:
            while working < count:
                # Up to eight are workers of one process each; beyond them a worker has eight, which saves memory and not work.
                processes = 1 if working < _EIGHT else _EIGHT
                started.append(stack.enter_context(worker(len(started), folder, str(SLEEP), processes)))
                working += processes
            ready(started)
            rates, busy, gaps, connections = [], [], [], 0
            for turn in range(ROUNDS + 1):  # the first of them warms up
                tweets = SLEEPING_SHARD * shards * count
                file = folder / "bench.jsonl"
                _write(file, tweets)
                _fresh()
                verb("ingest", str(file), "--source", "bench")
                psutil.cpu_percent()
                with Watch() as watch:
                    asked = verb("summarize", "bench", "--model", "bench", "--shard-size", str(SLEEPING_SHARD))
                    _done()
                    seconds = time.perf_counter() - asked.ended
                if turn:
                    rates.append(tweets / seconds)
                    busy.append(psutil.cpu_percent() / 100)
                    gaps.append(_gap() if working <= _EIGHT else 0.0)
                    connections = max(connections, watch.connections)
            alone = alone or statistics.median(rates)
            speed_ups = [rate / alone for rate in rates]
            found.append(Adding(count, speed_ups, statistics.median(gaps), statistics.median(busy), connections))
    return found


def _write(file: Path, tweets: int) -> None:
    known = _TEXT.split()
    with file.open("w") as out:
        for number in range(tweets):
            words = (known[(number * 7 + place * (number % 29 + 3)) % len(known)] for place in range(11))
            out.write(json.dumps({"id": str(10**18 + number), "text": f"@ann {' '.join(words)} {number} #fail"}) + "\n")


def _fresh() -> None:
    empty("job", "tweet", "model", "worker")
    with transaction() as connection:
        connection.execute(text(NEW_MODEL))


def ready(workers: list[subprocess.Popen[bytes]]) -> None:
    """Wait until all of them are."""
    log = log_of("summarization", get_settings().home)
    wait_for(lambda: not workers or log.read_text(errors="replace").count(" ready.") >= len(workers), f"{len(workers)} workers", 0.2, 600.0)


def _done() -> None:
    wait_for(_nothing_is_open, "the summaries", 0.1, _PATIENCE)


def _nothing_is_open() -> bool:
    with transaction() as connection:
        return not connection.execute(text(_OPEN)).scalar_one()


def _gap() -> float:
    with transaction() as connection:
        found = connection.execute(text(_GAP)).one()
    return float(found.gap / found.shard) if found.shard else 0.0


def _tables() -> dict[str, int]:
    with transaction() as connection:
        return {row.relname: row.size for row in connection.execute(text(_TABLES))}


if __name__ == "__main__":
    from benchmarks.servers import servers

    with servers():
        found = Scale([end_to_end(size, workers=int(sys.argv[2])) for size in (10_000, int(sys.argv[1]))])
    print(json.dumps({"machine": machine(), "scale": found.as_dict()}, indent=2))
