"""Explains each statement of the ledger with a million jobs in its tables.

Nothing is copied here: the ledger's own functions are called, and each statement that touches a large table is explained, with the
parameters it came with, right before it runs.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlmodel import Session

from benchmarks.servers import empty
from schemas.payloads import Payload, Queue
from schemas.states import JobState
from tasks import enqueue
from workers.database import get_engine, session_on
from workers.jobs import fanout, ledger, maintenance, queries, relay, worker_registry

JOBS, QUICK_JOBS = 1_000_000, 20_000
LARGE_TABLES = ("job", "job_event")
TOUCHES_LARGE_TABLE = re.compile(rf"\b(FROM|JOIN|UPDATE|INTO)\s+(ONLY\s+)?({'|'.join(LARGE_TABLES)})\b", re.IGNORECASE)
_TRIES = 3
_QUEUE = Queue.SUMMARIZATION.value


@dataclass(frozen=True)
class Explained:
    """One statement: who sent it, how each large table is read, the quickest of three executions, and the rows read in vain.

    A scan of a whole index takes as long as a sequential scan, but has another name: it shows in the rows that a filter removed.
    """

    sender: str
    statement: str
    reads: tuple[str, ...]
    milliseconds: float
    in_vain: int

    @property
    def scans_a_whole_table(self) -> bool:
        """Whether it reads the table from end to end."""
        return any(read.startswith("Seq Scan") for read in self.reads)


@dataclass
class Plans:
    """All statements that were explained."""

    jobs: int
    explained: list[Explained] = field(default_factory=list)

    @property
    def slowest(self) -> Explained:
        """The one that took longest."""
        return max(self.explained, key=lambda found: found.milliseconds)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        statements = [{"sender": one.sender, "reads": one.reads, "milliseconds": one.milliseconds} for one in self.explained]
        return {"jobs": self.jobs, "sequential_scans": sum(one.scans_a_whole_table for one in self.explained), "statements": statements}

    def lines(self) -> list[str]:
        """For people: Markdown."""
        head = [f"{self.jobs} jobs:", "| statement of | reads | in vain | ms |", "|---|---|---|---|"]
        rows = ((one.sender, ", ".join(one.reads) or "adds rows", str(one.in_vain), f"{one.milliseconds:.2f}") for one in self.explained)
        return head + [f"| {' | '.join(row)} |" for row in rows]


def run(*, quick: bool) -> Plans:
    """Fill the ledger with a million jobs, and explain what it does to them."""
    jobs = QUICK_JOBS if quick else JOBS
    empty("job")
    fill(get_engine(), jobs)
    return explain(get_engine(), jobs)


class Nothing(Payload):
    """The payload of a job that does nothing."""


# A year of use: nearly all done, most of them shards; some thousands wait, one of them again, some hundreds run, a few of these with a
# dead worker.
_PARENTS = """
INSERT INTO job (id, kind, queue, idempotency_key, state, remaining, attempt, created_at, started_at, finished_at, progress)
SELECT md5('parent' || n)::uuid, 'summarization.summarize', 'summarization', 'parent' || n,
       CASE WHEN n <= 20 THEN 'running' ELSE 'done' END, CASE WHEN n <= 20 THEN 250 ELSE 0 END, 1,
       moment, moment, CASE WHEN n > 20 THEN moment END, '{}'
FROM (SELECT n, now() - n * interval '1 hour' AS moment FROM generate_series(1, :parents) AS n) AS made
"""
_JOBS = """
INSERT INTO job (id, kind, queue, idempotency_key, payload, state, parent, attempt, failures, owner, lease_until, published_at,
                 created_at, started_at, finished_at, orders)
SELECT md5('job' || n)::uuid, (ARRAY['summarization.shard', 'training.train', 'synthesis.build', 'evaluation.evaluate'])[1 + kind],
       (ARRAY['summarization', 'training', 'synthesis', 'evaluation'])[1 + kind], 'job' || n, '{"first": 0, "last": 256}', state,
       CASE WHEN kind = 0 AND n <= :parents * 250 THEN md5('parent' || 1 + n / 250)::uuid END,
       (state <> 'queued' OR n = 1001)::int, (state IN ('failed', 'quarantined'))::int,
       CASE WHEN state <> 'queued' THEN 'worker-' || n % 100 END,
       CASE WHEN state = 'running' THEN now() + (n % 30 - 1) * interval '1 minute' END,
       CASE WHEN state = 'queued' AND n % 4 = 0 THEN now() END,
       moment, CASE WHEN state <> 'queued' THEN moment END, CASE WHEN state NOT IN ('queued', 'running') THEN moment END, NULL
FROM (
  SELECT n, CASE WHEN n % 5 < 4 THEN 0 ELSE 1 + n / 5 % 3 END AS kind, now() - n * interval '30 seconds' AS moment,
         CASE WHEN n <= 500 THEN 'running' WHEN n <= 5000 THEN 'queued' WHEN n % 500 = 1 THEN 'failed' WHEN n % 2000 = 2 THEN 'cancelled'
              WHEN n % 3000 = 3 THEN 'quarantined' ELSE 'done' END AS state
  FROM generate_series(1, :jobs) AS n) AS made
"""
_HAPPENED = "INSERT INTO job_event (job, attempt, event) SELECT id, attempt, 'claimed' FROM job ORDER BY created_at"


def fill(engine: Engine, jobs: int) -> None:
    """Fill the empty tables with this many jobs, with an event each, and have Postgres analyze them."""
    parents = jobs // 300
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no look for the parent of each row
        connection.execute(text(_PARENTS), {"parents": parents})
        connection.execute(text(_JOBS), {"parents": parents, "jobs": jobs - parents})
        connection.execute(text(_HAPPENED))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE job, job_event"))
        connection.execute(text("RESET statement_timeout"))


def explain(engine: Engine, jobs: int) -> Plans:
    """Call every step on the jobs in `engine`, explain its statements, and roll it back."""
    plans = Plans(jobs)
    for sender, step in steps(engine).items():
        with explaining(engine, sender, plans.explained), engine.connect() as connection:
            step(connection)
            connection.rollback()
    return plans


@contextmanager
def explaining(engine: Engine, sender: str, into: list[Explained]) -> Iterator[None]:
    seen: set[str] = set()

    def before(connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if TOUCHES_LARGE_TABLE.search(statement) and statement not in seen:
            seen.add(statement)
            cursor = connection.connection.cursor()
            into.append(_explained(cursor, sender, statement, parameters))

    event.listen(engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", before)


def _explained(cursor: Any, sender: str, statement: str, parameters: Any) -> Explained:
    found = []
    for _ in range(_TRIES):
        cursor.execute("SAVEPOINT explained")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        found.append(cursor.fetchone()[0][0])
        cursor.execute("ROLLBACK TO SAVEPOINT explained")
    nodes = list(_nodes(found[0]["Plan"]))
    reads = dict.fromkeys(f"{node['Node Type']} {node.get('Index Name') or node['Relation Name']}" for node in nodes if _reads(node))
    in_vain = max(node.get("Rows Removed by Filter", 0) for node in nodes)
    return Explained(sender, statement, tuple(reads), round(min(one["Execution Time"] for one in found), 3), in_vain)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan, from the outermost inwards."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _reads(node: dict[str, Any]) -> bool:
    """Whether this is where a large table is read. A bitmap's heap scan reads what the index scan below it found."""
    kind, table = node["Node Type"], node.get("Relation Name")
    return kind == "Bitmap Index Scan" or (table in LARGE_TABLES and kind.endswith("Scan") and kind != "Bitmap Heap Scan")


Step = Callable[[Connection], object]


def steps(engine: Engine) -> dict[str, Step]:
    """Return each function that reads or writes jobs, applied to a job that it is meant for, by its name."""
    waits = _one(engine, "state = 'queued' AND published_at IS NULL AND parent IS NULL")
    whole = _one(engine, "state = 'running' AND remaining IS NOT NULL")
    return _attempts(engine, waits, whole) | _maintenance() | _fanout(engine, waits, whole) | _queries(waits, whole)


def _attempts(engine: Engine, waits: uuid.UUID, whole: uuid.UUID) -> dict[str, Step]:
    shard = _one(engine, "state = 'queued' AND parent IS NOT NULL")
    expired = _one(engine, "state = 'running' AND lease_until < now()")
    fresh = [ledger.NewJob("upkeep.work", _QUEUE, Nothing(), uuid.uuid4().hex, parent=whole) for _ in range(256)]
    error = {"class": "Error", "message": "an error"}
    return {
        "ledger.insert": lambda c: ledger.insert(c, fresh),
        "ledger.find_by_key": lambda c: ledger.find_by_key(c, "job77"),
        "ledger.claim": lambda c: _claimed(c, waits),
        "ledger.claim, of another's job": lambda c: ledger.claim(c, expired, "worker@here", 60.0),
        "ledger.renew": lambda c: ledger.renew(c, _claimed(c, waits), {"step": 1}),
        "ledger.fence": lambda c: ledger.fence(c, _claimed(c, waits)),
        "ledger.finish, of a shard": lambda c: ledger.finish(c, _claimed(c, shard), JobState.DONE, result={"rows": 1}),
        "ledger.finish, of the last shard": lambda c: _finish_last(c, _claimed(c, shard)),
        "ledger.fail": lambda c: ledger.fail(c, _claimed(c, waits), error),
        "ledger.release": lambda c: ledger.release(c, _claimed(c, waits)),
        "ledger.log": lambda c: ledger.log(c, _claimed(c, waits), "a line"),
        "ledger.has_ended": lambda c: ledger.has_ended(c, _claimed(c, waits)),
        "ledger.resolve, latest": lambda c: ledger.resolve(c, "latest"),
        "ledger.resolve, beginning": lambda c: ledger.resolve(c, str(waits)[:18]),
        "enqueue.submit": lambda _: enqueue.submit("upkeep.work", Queue.MAINTENANCE, Nothing(), uuid.uuid4().hex),
    }


def _maintenance() -> dict[str, Step]:
    return {
        "maintenance.reap": maintenance.reap,
        "relay.relay": _relay,
        "relay.find_lost": lambda c: relay.find_lost(c, _QUEUE, lambda _: 0, relay.Shortfall(patience=0)),
        "worker_registry.leave": lambda c: worker_registry.leave(c, "worker-7", 1),
        "worker_registry.live": _live,
    }


def _fanout(engine: Engine, waits: uuid.UUID, whole: uuid.UUID) -> dict[str, Step]:
    ended = _one(engine, "state = 'done' AND remaining IS NOT NULL")
    broken = _one(engine, "state = 'failed' AND parent IS NULL")
    return {
        "fanout.open_parent": lambda c: fanout.open_parent(c, whole, shards=250, rows=64_000),
        "fanout.keep_open, and a shard more": lambda c: _add_to_open(c, whole),
        "fanout.cancel, one job": lambda c: fanout.cancel(c, waits),
        "fanout.cancel, with its shards": lambda c: fanout.cancel(c, whole),
        "fanout.shards_ended, the last one, which failed": lambda c: _end_shards(c, whole),
        "fanout.retry, one job": lambda c: fanout.retry(c, [JobState.FAILED], broken),
        "fanout.retry, a parent's failed shards": lambda c: fanout.retry(c, [JobState.FAILED], ended),
        "fanout.retry, all quarantined": lambda c: fanout.retry(c, [JobState.QUARANTINED]),
    }


def _add_to_open(connection: Connection, parent: uuid.UUID) -> None:
    fanout.keep_open(connection, parent)
    fanout.find_open(connection, parent)
    fanout.find_open(connection, parent, lock=True)
    fanout.add_shard(connection, parent, 128)
    fanout.add_no_more(connection, parent)


def _end_shards(connection: Connection, parent: uuid.UUID) -> None:
    left = connection.execute(text("SELECT remaining FROM job WHERE id = :parent"), {"parent": parent}).scalar_one()
    fanout.shards_ended(connection, parent, ended=left, failed=1)


def _queries(waits: uuid.UUID, whole: uuid.UUID) -> dict[str, Step]:
    asked: dict[str, Callable[[Session], object]] = {
        "queries.jobs": queries.jobs,
        "queries.jobs, running": lambda s: queries.jobs(s, state=JobState.RUNNING, shards=True),
        "queries.jobs, quarantined": lambda s: queries.jobs(s, state=JobState.QUARANTINED),
        "queries.jobs, of a kind": lambda s: queries.jobs(s, kind="training"),
        "queries.quarantined": queries.quarantined,
        "queries.job": lambda s: queries.job(s, waits),
        "queries.job_status": lambda s: queries.job_status(s, waits),
        "queries.events, one job": lambda s: queries.events(s, waits),
        "queries.events, with its shards": lambda s: queries.events(s, whole),
        "queries.last_events": lambda s: queries.last_events(s, whole, limit=20),
        "queries.shards": lambda s: queries.shards(s, whole),
        "queries.released_by": lambda s: queries.released_by(s, waits, "a GPU"),
        "queries.metrics": lambda s: queries.metrics(s, waits),
        "queries.rejected": lambda s: queries.rejected(s, waits),
    }
    return {name: partial(_in_session, query) for name, query in asked.items()}


def _in_session(query: Callable[[Session], object], connection: Connection) -> None:
    with session_on(connection) as session:
        query(session)


def _claimed(connection: Connection, job: uuid.UUID) -> ledger.Claim:
    held = ledger.claim(connection, job, "worker@here", 60.0)
    assert held is not None
    return held


def _finish_last(connection: Connection, held: ledger.Claim) -> None:
    connection.execute(text("UPDATE job SET remaining = 1 WHERE id = :parent"), {"parent": held.parent})
    ledger.finish(connection, held, JobState.DONE)


def _live(connection: Connection) -> list[worker_registry.LiveWorker]:
    for number in range(100):
        worker_registry.register(connection, f"worker-{number}", [_QUEUE], number)
    return worker_registry.live(connection)


def _relay(connection: Connection) -> int:
    worker_registry.register(connection, "worker@here", [_QUEUE], 1)
    return relay.relay(connection, _QUEUE, lambda _: 0, lambda *_, **__: None)


def _one(engine: Engine, condition: str) -> uuid.UUID:
    with engine.connect() as connection:
        return uuid.UUID(str(connection.execute(text(f"SELECT id FROM job WHERE {condition} LIMIT 1")).scalar_one()))
