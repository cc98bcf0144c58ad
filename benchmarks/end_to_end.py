"""A worker's summaries from the asking to the last stored one, against the bare engine on the same tweets, model and guard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from benchmarks.inference import Subject, subject_of
from benchmarks.measure import Comparison, Way, compare
from benchmarks.servers import empty, log_of, start_worker, wait_for
from producers.sources.lines import Line
from schemas.payloads import SummarizationSpec
from schemas.records import TweetRecord
from tasks import summarization
from workers.configuration.settings_sources import default_home
from workers.database import transaction
from workers.inference.guard import guarded
from workers.ingest.tweets import copy_tweets
from workers.settings import ENVIRONMENT, get_settings

_WARMING = 4  # tweets that both write before the first round
_ASKED_EVERY = 0.5  # seconds: a look costs milliseconds of the cores that the engine computes on
_WRITTEN = "SELECT count(*) FROM summary"
_OPEN = "SELECT count(*) FROM job WHERE state IN ('queued', 'running')"
_MODEL = "INSERT INTO model (name, base, method, stage) VALUES ('bench', :base, 'none', 'summary') RETURNING id"


def run(*, quick: bool) -> Comparison:
    """Summarise 256 tweets of the user's home under guard, by one shard of a worker that has the model loaded, and without one.

    Raises:
        CannotRun: there is no model, or there are no tweets.
    """
    subject = subject_of(default_home(ENVIRONMENT).expanduser(), quick=quick)
    from workers.inference.local.engine import TransformersEngine

    engine = TransformersEngine(str(subject.model))
    with _worker():
        _fresh(Subject(subject.model, subject.texts[:_WARMING]))
        _asked()
        guarded(engine, subject.texts[:_WARMING])
        comparison = compare(
            Way("the bare engine under guard", lambda: len(guarded(engine, subject.texts))),
            [Way("a worker, from the asking to the last summary stored", _asked, prepare=lambda: _fresh(subject))],
            unit="tweets",
            warm=True,
        )
    comparison.notes.append(f"model {subject.model.name}, weights in {engine.precision}")
    return comparison


@contextmanager
def _worker() -> Iterator[None]:
    """A worker with one process and every core, as the engine in this process has them."""
    folder = get_settings().home
    log = log_of("summarization", folder)
    log.unlink(missing_ok=True)
    every_core = {"TWEETMILL_ENGINE": "transformers", "TWEETMILL_THREADS": "", "OMP_NUM_THREADS": ""}
    process = start_worker("workers.app", "summarization", folder, processes=1, **every_core)
    try:
        wait_for(lambda: " ready." in log.read_text(errors="replace"), "the worker")
        yield
    finally:
        process.terminate()
        process.wait(60)


def _fresh(subject: Subject) -> None:
    """Have the tweets stored and no summary of them; the worker keeps the model that it has loaded."""
    empty("job", "tweet", "model")
    with transaction() as connection:
        connection.execute(text(_MODEL), {"base": str(subject.model)})
    rows = (TweetRecord(id=str(number), text=tweet, source="bench") for number, tweet in enumerate(subject.texts))
    copy_tweets((Line(number, row) for number, row in enumerate(rows, start=1)), origin="bench")


def _asked() -> int:
    with transaction() as connection:
        model = int(connection.execute(text("SELECT id FROM model")).scalar_one())
    summarization.enqueue(SummarizationSpec(model_id=model))
    wait_for(_is_done, "the summaries", _ASKED_EVERY, 3600.0)
    with transaction() as connection:
        return int(connection.execute(text(_WRITTEN)).scalar_one())


def _is_done() -> bool:
    with transaction() as connection:
        return not connection.execute(text(_OPEN)).scalar_one()
