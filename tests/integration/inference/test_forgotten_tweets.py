"""A shard that runs while one of its tweets is forgotten: it stores no summary of it, and does not fail."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from schemas.chat import Prompt
from schemas.payloads import SummarizationSpec
from tasks import summarization
from tests.integration.in_process import work_off
from tests.support import jobs
from tests.support.everywhere import SAYS, SUMMARY, TWEET, add_job, add_tweet, insert
from workers.catalog.removal.forgetting import forget
from workers.database import insert_what_stays, transaction
from workers.inference.engine import Generation, Sampling
from workers.inference.job import INSERT_SUMMARIES


class Forgetful:
    """An engine that forgets a tweet while it writes, as a stream's deletion would."""

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, adapter: Path | None = None, on_progress: Callable[[int], None] | None = None
    ) -> list[Generation]:
        with transaction() as connection:
            forget(connection, [TWEET])
        return [Generation((f"{SUMMARY}",), tokens_in=1, tokens_out=1) for _ in prompts]


@pytest.fixture
def model(clean_database: Engine) -> int:
    """A model, the tweet, and another."""
    with clean_database.begin() as connection:
        add_tweet(connection, TWEET, SAYS)
        add_tweet(connection, "other", "The ferry to Bergen is late again and I am cold.")
        return int(insert(connection, "model", name="m", base="b", method="none", stage="summary"))


def test_a_shard_that_had_read_it_stores_no_summary_of_it_and_is_done(
    clean_database: Engine, model: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.inference.writer.engine_for", lambda *_, **__: Forgetful())
    job = summarization.enqueue(SummarizationSpec(model_id=model, guard=False)).job
    work_off(clean_database)
    with clean_database.connect() as connection:
        assert list(connection.execute(text("SELECT tweet FROM summary")).scalars()) == ["other"]
        assert list(connection.execute(text("SELECT tweet FROM selection")).scalars()) == ["other"]
    assert jobs.row(clean_database, job).state == "done"


def test_what_is_stored_while_it_is_being_forgotten_is_all_but_its_own(clean_database: Engine, model: int) -> None:
    """The statement sees the tweet, and its foreign key does not: without a second try the flush would fail."""
    with clean_database.begin() as connection:
        job = add_job(connection)
    stored: list[object] = []
    with clean_database.begin() as forgetting:
        forget(forgetting, [TWEET])
        storing = threading.Thread(target=lambda: stored.append(_store(clean_database, model, job)))
        storing.start()
        storing.join(0.5)
        assert storing.is_alive(), "it waits for the one that forgets"
    storing.join(30)
    assert stored == [1]
    with clean_database.connect() as connection:
        assert list(connection.execute(text("SELECT tweet FROM summary")).scalars()) == ["other"]


def _store(engine: Engine, model: int, job: uuid.UUID) -> object:
    import json

    row = {"cleaned": "c", "summary": "s", "flags": [], "tries": 1, "tokens_in": 1, "tokens_out": 1}
    rows = json.dumps([{"tweet": tweet, **row} for tweet in (TWEET, "other")])
    values = {"model": model, "version": "1", "job": job, "attempt": 1, "worker": "w", "rows": rows}
    try:
        with engine.begin() as connection:
            return insert_what_stays(connection, INSERT_SUMMARIES, values).rowcount
    except Exception as error:
        return error
