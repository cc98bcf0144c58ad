"""What a tweet costs whoever asks: a row and a message for every 256 of them, against one Celery message for each."""

from __future__ import annotations

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
    return compare(
        Way(f"one shard of {SHARD} tweets at a time", lambda: _by_shards(model), prepare=_forget_jobs),
        [Way("one Celery delay() a tweet", lambda: _by_messages(ids), prepare=_forget_jobs)],
        unit="tweets",
    )


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
