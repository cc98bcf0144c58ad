"""What a tweet costs whoever asks: a row and a message for every 256 of them, against one Celery message for each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from sqlalchemy import text

from benchmarks import plain
from benchmarks.measure import Comparison, Way, compare
from benchmarks.servers import drop_messages, empty
from schemas.payloads import Queue, SummarizationSpec
from tasks import summarization
from workers.database import transaction

TWEETS, QUICK_TWEETS = 4096, 512
SHARD = 256


def run(*, quick: bool) -> Comparison:
    """Ask for summaries of 4,096 ingested tweets. No worker listens: asking alone is measured."""
    count = QUICK_TWEETS if quick else TWEETS
    empty("tweet", "model")
    model = _store(count)
    ids = [str(number) for number in range(count)]
    shards, messages = _Core(lambda: _by_shards(model)), _Core(lambda: _by_messages(ids))
    comparison = compare(
        Way(f"one shard of {SHARD} tweets at a time", shards.run, prepare=_forget_jobs),
        [Way("one Celery delay() a tweet", messages.run, prepare=_forget_jobs)],
        unit="tweets",
    )
    ratios = [one / other for one, other in zip(messages.seconds[1:], shards.seconds[1:], strict=True)]  # the first round warms up
    each = [statistics.median(way.seconds) / count * 1e6 for way in (messages, shards)]
    comparison.notes.append(
        f"of the asker's core delay() takes {statistics.median(ratios):.0f} times as long ({min(ratios):.0f} to {max(ratios):.0f}):"
        f" {each[0]:.0f} us a tweet against {each[1]:.1f}"
    )
    return comparison


class _Core:
    """A way that also tells the seconds of its own process's core: the rest is Postgres's, or Valkey's."""

    def __init__(self, run: Callable[[], int]) -> None:
        self._run = run
        self.seconds: list[float] = []

    def run(self) -> int:
        began = time.process_time()
        did = self._run()
        self.seconds.append(time.process_time() - began)
        return did


def _store(count: int) -> int:
    with transaction() as connection:
        rows = [{"id": str(number), "text": f"tweet {number}"} for number in range(count)]
        connection.execute(text("INSERT INTO tweet (id, source, text, text_hash) VALUES (:id, 'bench', :text, md5(:text))"), rows)
        model = "INSERT INTO model (name, base, method, stage) VALUES ('bench', 'none', 'none', 'summary') RETURNING id"
        return int(connection.execute(text(model)).scalar_one())


def _forget_jobs() -> None:
    with transaction() as connection:
        connection.execute(text("DELETE FROM job"))
    drop_messages(Queue.SUMMARIZATION.value, plain.QUEUE)


def _by_shards(model: int) -> int:
    job = summarization.enqueue(SummarizationSpec(model_id=model, shard_size=SHARD)).job
    with transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM selection WHERE job = :job"), {"job": job}).scalar_one())


def _by_messages(ids: list[str]) -> int:
    for tweet in ids:
        plain.summarize.delay(tweet)
    return len(ids)
