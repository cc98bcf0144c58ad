"""Opens a review: a dataset's rows are ranked in a stream and copied into `review`, and earlier verdicts are carried over."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import func, text
from sqlmodel import Session, select

from schemas.tables.datasets import Review
from workers.database import copy_rows
from workers.errors import UserError
from workers.review.ranking import Candidate, Findings, Known, Ranked, Words, rank

_BATCH = 2000
_MANY = 20_000  # rows from which starting a process a core pays

Progress = Callable[[int, int], None]
"""Called with the number of rows that are ranked, and of all."""


@dataclass(frozen=True)
class Opened:
    """How many rows can be reviewed, and how many of them have a verdict from an earlier review."""

    rows: int
    carried: int


# A person's text is reviewed once: noise has a person's text as its target, and the pair that it was made of stands for it.
GROUP = "CASE WHEN origin IN ('human', 'noise') THEN md5(jsonb_build_array(stage, tweet, target_text)::text) ELSE key END"
_CANDIDATES = f"""
SELECT DISTINCT ON ({GROUP}) key, stage, prompt_text AS prompt, target_text AS target, lineage->'scores' AS scores, cluster,
       lineage->'flagged' AS flagged
FROM example WHERE dataset = :dataset ORDER BY {GROUP}, origin <> 'human', (lineage->>'copy')::int, key
"""  # noqa: S608
_COUNT = f"SELECT count(*) FROM ({_CANDIDATES}) AS candidate"  # noqa: S608
_TARGETS = f"SELECT target FROM ({_CANDIDATES}) AS candidate"  # noqa: S608
_ROWS = f"""
SELECT key, stage, prompt, target, scores, flagged, count(*) OVER (PARTITION BY cluster) AS alike FROM ({_CANDIDATES}) AS candidate
"""  # noqa: S608
# They come in the order of their hashes, and not of their making.
_SAMPLE = f"SELECT key, stage, prompt, target, scores, flagged, 1 AS alike FROM ({_CANDIDATES} LIMIT 2000) AS candidate"  # noqa: S608
_NO_TIMEOUTS = "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)"
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('review'), cast(:dataset AS int))"
_COPY = "COPY review (dataset, key, value, reasons) FROM STDIN"
# The newest verdict on the same key counts. It was not given here, so that it has no seconds and no rule that could be undone.
_CARRY = """
UPDATE review SET verdict = earlier.verdict, target_text = earlier.target_text, reviewer = earlier.reviewer,
    reviewed_at = earlier.reviewed_at, rule = earlier.rule - 'id' - 'before'
FROM (SELECT DISTINCT ON (key) * FROM review WHERE dataset <> :dataset AND verdict IN ('accepted', 'edited', 'rejected')
      ORDER BY key, reviewed_at DESC) AS earlier
WHERE review.dataset = :dataset AND review.key = earlier.key
"""
# What a reviewed dataset holds was looked at, also where an edit gave it a new key.
_CARRY_BUILT = """
UPDATE review SET verdict = 'accepted', reviewer = lineage->>'reviewer', reviewed_at = (lineage#>>'{review,at}')::timestamptz
FROM example WHERE review.dataset = :dataset AND example.dataset = review.dataset AND example.key = review.key
  AND review.verdict IS NULL AND lineage ? 'review'
"""


def open_review(session: Session, dataset: int, on_progress: Progress) -> Opened:
    """Queue a dataset's rows for review, unless they are. A second call for the same dataset waits until the first is done.

    Raises:
        UserError: the dataset has no example.
    """
    # A million rows take minutes once, and the second who asks waits for as long.
    connection, of_dataset = session.connection(), {"dataset": dataset}
    connection.execute(text(_NO_TIMEOUTS))
    connection.execute(text(_LOCK), of_dataset)
    standing = session.exec(select(func.count()).select_from(Review).where(Review.dataset == dataset)).one()
    if standing:
        return Opened(standing, 0)
    rows = connection.execute(text(_COUNT), of_dataset).scalar_one()
    if not rows:
        raise UserError("the dataset has no example: there is nothing to review")
    sample = (Candidate(**row._mapping) for row in connection.execute(text(_SAMPLE), of_dataset))
    known = Known(Words(row.target for row in _streamed(session, _TARGETS, dataset)), Findings(sample))
    candidates = (Candidate(**row._mapping) for row in _streamed(session, _ROWS, dataset))
    done = 0
    with _ranking(known, rows) as ranked:
        for batch in ranked(_batches(candidates)):
            _copy(session, dataset, batch)
            done += len(batch)
            on_progress(done, rows)
    carried = connection.execute(text(_CARRY), of_dataset).rowcount + connection.execute(text(_CARRY_BUILT), of_dataset).rowcount
    return Opened(rows, carried)


def _streamed(session: Session, query: str, dataset: int) -> Iterator[Any]:
    options = {"stream_results": True, "yield_per": _BATCH}
    yield from session.connection().execute(text(query), {"dataset": dataset}, execution_options=options)


def _batches(rows: Iterator[Candidate]) -> Iterator[list[Candidate]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


@contextmanager
def _ranking(known: Known, rows: int) -> Iterator[Callable[[Iterable[list[Candidate]]], Iterator[list[Ranked]]]]:
    """Yield what ranks batches: this process, or for many rows one process a core."""
    if rows < _MANY:
        yield lambda batches: ([rank(row, known) for row in batch] for batch in batches)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Spawned: a fork would share this process's connection.
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _remember, (known,)) as pool:
        yield lambda batches: _in_order(pool, batches, ahead=2 * cores)


def _in_order(pool: Executor, batches: Iterable[list[Candidate]], ahead: int) -> Iterator[list[Ranked]]:
    """Yield the ranked batches in their order, with no more than `ahead` of them in memory."""
    waiting: deque[Future[list[Ranked]]] = deque()
    for batch in batches:
        waiting.append(pool.submit(_rank_all, batch))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


_known: Known | None = None


def _remember(known: Known) -> None:
    global _known
    _known = known


def _rank_all(batch: Sequence[Candidate]) -> list[Ranked]:
    assert _known is not None
    return [rank(row, _known) for row in batch]


def _copy(session: Session, dataset: int, batch: Iterable[Ranked]) -> None:
    copy_rows(session.connection(), _COPY, ((dataset, row.key, row.value, json.dumps(row.reasons)) for row in batch))
