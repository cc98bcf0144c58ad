"""Streams: a parent job that stays open while its stream runs, and a shard for each micro-batch."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.payloads import Queue, StreamSpec
from schemas.states import JobState
from tasks.enqueue import publish_now
from tasks.summarization import SUMMARIZE_SHARD
from workers.database import transaction
from workers.errors import UserError
from workers.jobs import fanout, ledger
from workers.streams import holding, micro_batches

if TYPE_CHECKING:
    from workers.streams.holding import Ended, Held, NewStream
    from workers.streams.micro_batches import Limits

STREAM = "summarization.stream"


def start(asked: NewStream, *, from_start: bool = False) -> Held:
    """Take a stream for this process, with the parent for its shards: the one that a killed process left open, or a new one.

    Raises:
        UserError: another process reads it, or it was read from another address so far.
    """
    with transaction() as connection:
        held = holding.take(connection, asked, from_start=from_start)
        if held.job is not None and fanout.find_open(connection, held.job, lock=True):
            return held
        parent = ledger.NewJob(
            kind=STREAM,
            queue=Queue.SUMMARIZATION.value,
            payload=StreamSpec(stream=asked.name, model=asked.model),
            idempotency_key=uuid.uuid4().hex,
            remaining=0,
            state=JobState.RUNNING,
        )
        ledger.insert(connection, [parent])
        fanout.keep_open(connection, parent.id)
        holding.set_job(connection, held, parent.id)
        return replace(held, job=parent.id)


def make_shard(held: Held, limits: Limits, *, guard: bool) -> int:
    """Make a shard of the oldest tweets that wait, and publish it; return how many it has."""
    with transaction() as connection:
        tweets = micro_batches.make_shard(connection, held, limits, SUMMARIZE_SHARD, guard=guard)
    publish_now(Queue.SUMMARIZATION)
    return tweets


def end(held: Held, state: Ended, error: str | None = None) -> None:
    """Let the parent close with its last shard, and give the stream back.

    Args:
        held: the stream.
        state: why it ends.
        error: in words, where it failed.
    """
    assert held.job is not None
    with transaction() as connection:
        fanout.add_no_more(connection, held.job)
        holding.leave(connection, held, state, error)


def cancel_rest(held: Held) -> None:
    """Cancel the shards of a cancelled stream that were made while it was being cancelled."""
    assert held.job is not None
    with suppress(UserError), transaction() as connection:  # mostly there are none
        fanout.cancel(connection, held.job)
