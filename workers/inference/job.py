"""Runs one shard of a summarization job: summarises the tweets of a slice of the selection and stores the summaries as they come.

Rows that exist are never computed again, so an attempt that follows a killed one continues where the rows end. Equal tweets are
neighbours in the selection and are computed once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, exists, text
from sqlmodel import col, select

from schemas.payloads import CanaryPart, ShardSpec
from schemas.tables.summaries import Selection, Summary
from schemas.tables.tweets import Tweet
from workers import clock
from workers.canary import watch
from workers.catalog import models
from workers.database import session_on, transaction
from workers.inference.guard import Guarded
from workers.inference.writer import Writer
from workers.ingest.summary_rows import SummaryRow, insert_summaries
from workers.jobs.context import JobContext, Outcome, Stopped
from workers.text.clean import rules
from workers.text.instructions import PROMPT_VERSION

# A tweet with the same text as one that has a summary gets a copy of it.
_KNOWN_OF_DUPLICATES = """
SELECT DISTINCT ON (tweet.id) tweet.id AS tweet, tweet.text_hash, known.prompt_version AS version, known.cleaned, known.summary,
       known.flags, known.tries
FROM selection
JOIN tweet ON tweet.id = selection.tweet
JOIN tweet AS duplicate ON duplicate.text_hash = tweet.text_hash AND duplicate.id <> tweet.id
JOIN summary AS known ON known.tweet = duplicate.id AND known.model = :model AND known.prompt_version = :version
WHERE selection.job = :parent AND selection.ordinal >= :first AND selection.ordinal < :last
AND NOT EXISTS (SELECT FROM summary WHERE summary.tweet = tweet.id AND summary.model = :model AND summary.prompt_version = :version)
ORDER BY tweet.id
"""

FLUSH_SECONDS = 4.0
"""Between two flushes: a killed worker loses no more than this, and the call of a local engine that it was at."""


@dataclass(frozen=True)
class _Wanted:
    """One text, its hash, and the tweets that bear it."""

    text: str
    text_hash: str
    tweets: tuple[str, ...]


def summarize(attempt: JobContext, spec: ShardSpec) -> Outcome:
    """Summarise the tweets of this shard that have no summary yet."""
    with transaction() as connection, session_on(connection) as session:
        writer = Writer.of(session, models.by_id(session, spec.model_id))
        copied = _copy_known(connection, attempt, spec)
        wanted = list(_wanted(connection, attempt, spec))
    total = spec.last - spec.first
    missing = sum(len(row.tweets) for row in wanted)
    wanted.sort(key=lambda row: len(row.text))
    with _Storing(attempt, spec, done=total - missing) as storing:
        attempt.check()
        texts = [row.text for row in wanted]
        for places, results in writer.stream(texts, guard=spec.guard, on_progress=lambda _: attempt.check()):
            attempt.check()
            storing.take([wanted[place] for place in places], results)
    result = {"rows": missing, "copied": copied, "reused": total - missing - copied, **storing.counts}
    part = spec.canary
    if part is None:
        return Outcome(result)
    return Outcome(result, lambda connection: watch.record(connection, attempt, part), lambda: _watch(part))


def _watch(part: CanaryPart) -> None:
    watch.check(part.promotion)


class _Storing:
    """Stores results every few seconds, in a thread of its own, so that the engine goes on meanwhile.

    Args:
        attempt: at the shard.
        spec: of the shard.
        done: rows that are stored already.
    """

    def __init__(self, attempt: JobContext, spec: ShardSpec, done: int) -> None:
        self._attempt = attempt
        self._spec = spec
        self._done = done
        self._part: list[_Wanted] = []
        self._results: list[Guarded] = []
        self._last = -math.inf  # the first results are stored at once: whoever watches sees that it works
        self._running: Future[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storing")
        self.counts: dict[str, int] = {"fallbacks": 0, "retried": 0}
        self._tell()

    def __enter__(self) -> _Storing:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Store the rest, unless the block failed: what was asked to stop keeps what it has."""
        try:
            if kind is None or issubclass(kind, Stopped):
                self._hand_over()
                self._wait()
        finally:
            self._thread.shutdown()

    def take(self, part: Sequence[_Wanted], results: Sequence[Guarded]) -> None:
        """Add what was written, and have it stored if it is time.

        Raises:
            LeaseLost: the job is held elsewhere: nothing is written.
            Stopped: the attempt must stop.
        """
        self._part += part
        self._results += results
        self.counts["fallbacks"] += sum("fallback" in result.flags for result in results)
        self.counts["retried"] += sum(result.tries > 1 for result in results)
        if clock.now() - self._last >= FLUSH_SECONDS:
            self._wait()
            self._attempt.check()
            self._hand_over()

    def _hand_over(self) -> None:
        self._wait()
        if self._part:
            self._running = self._thread.submit(self._store, self._part, self._results)
        self._part, self._results, self._last = [], [], clock.now()

    def _wait(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def _store(self, part: Sequence[_Wanted], results: Sequence[Guarded]) -> None:
        with self._attempt.flush() as connection:
            self._done += _store(connection, self._attempt, self._spec.model_id, part, results)
        self._tell()

    def _tell(self) -> None:
        self._attempt.progress(done=self._done, total=self._spec.last - self._spec.first)


def _copy_known(connection: Connection, attempt: JobContext, spec: ShardSpec) -> int:
    known = [SummaryRow(**row._mapping) for row in connection.execute(text(_KNOWN_OF_DUPLICATES), _slice(attempt, spec))]
    return _insert(connection, attempt, spec.model_id, known)


def _wanted(connection: Connection, attempt: JobContext, spec: ShardSpec) -> Iterator[_Wanted]:
    bearers: dict[tuple[str, str], list[str]] = defaultdict(list)
    has_summary = exists().where(
        col(Summary.tweet) == col(Tweet.id), col(Summary.model) == spec.model_id, col(Summary.prompt_version) == PROMPT_VERSION
    )
    missing = (
        select(Tweet.id, Tweet.text, Tweet.text_hash)
        .join(Selection, col(Selection.tweet) == col(Tweet.id))
        .where(Selection.job == attempt.parent, Selection.ordinal >= spec.first, Selection.ordinal < spec.last, ~has_summary)
    )
    with session_on(connection) as opened:
        for tweet, tweet_text, text_hash in opened.exec(missing):
            bearers[tweet_text, text_hash].append(tweet)
    for (tweet_text, text_hash), ids in bearers.items():
        yield _Wanted(tweet_text, text_hash, tuple(sorted(ids)))


def _slice(attempt: JobContext, spec: ShardSpec) -> dict[str, Any]:
    parent: UUID | None = attempt.parent
    return {"parent": parent, "first": spec.first, "last": spec.last, "model": spec.model_id, "version": PROMPT_VERSION}


def _store(connection: Connection, attempt: JobContext, model: int, part: Sequence[_Wanted], results: Sequence[Guarded]) -> int:
    rows = [
        SummaryRow(
            tweet=tweet,
            text_hash=wanted.text_hash,
            version=PROMPT_VERSION,
            cleaned=rules(wanted.text),
            # A byte-level model may write NUL, the one character that Postgres can't store.
            summary=result.text.replace("\0", ""),
            flags=result.flags,
            tries=result.tries,
            tokens_in=result.tokens_in,
            tokens_out=result.tokens_out,
        )
        for wanted, result in zip(part, results, strict=True)
        for tweet in wanted.tweets
    ]
    return _insert(connection, attempt, model, rows)


def _insert(connection: Connection, attempt: JobContext, model: int, rows: Sequence[SummaryRow]) -> int:
    if not rows:
        return 0
    return insert_summaries(connection, rows, model=model, worker=attempt.owner, job=attempt.job, attempt=attempt.number)
