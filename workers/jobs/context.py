"""Defines the interface between a job's code and its runner: what the code gets, what it returns, and how it is stopped.

`workers.jobs.attempt` implements `JobContext` for a job in the queue. Code that needs no job, such as a preview, takes a `Context`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sqlalchemy import Connection

from workers.errors import TweetmillError

Signal = Literal["cancel", "drain", "lost"]
"""Why an attempt must stop: somebody cancelled the job, the worker is leaving, or the lease is lost."""


class Stopped(TweetmillError):
    """The attempt stopped as it was asked to: `reason` is `cancel` or `drain`."""

    def __init__(self, reason: Signal) -> None:
        super().__init__(f"asked to stop: {reason}")
        self.reason = reason


class GivenBack(TweetmillError):
    """The attempt gives the job back without a failure: the message says why, and it may run again after `delay` seconds."""

    def __init__(self, reason: str, delay: float) -> None:
        super().__init__(reason)
        self.delay = delay


@dataclass(frozen=True)
class Outcome:
    """What a job's code returns.

    Attributes:
        result: for the job's row.
        writes: writes the results, in the transaction that ends the job.
        afterwards: called when that is committed; the job is done whether or not this works.
    """

    result: Mapping[str, Any] = field(default_factory=dict)
    writes: Callable[[Connection], None] | None = None
    afterwards: Callable[[], None] | None = None


class Context(Protocol):
    """What long work needs from its runner, with a job or without one."""

    @property
    def job(self) -> uuid.UUID | None:
        """The job's id; None where there is no job."""

    @property
    def pending_signal(self) -> Signal | None:
        """None, or why the work must stop as soon as it can."""

    def check(self) -> None:
        """Raise if the work must stop.

        Raises:
            Stopped: it was cancelled, or the worker is leaving.
            LeaseLost: another attempt may hold the job.
        """

    def progress(self, **fields: Any) -> None:
        """Show progress: numbers and short words only, never a tweet."""

    def log(self, message: str) -> None:
        """Append a line to the job's log. Never a tweet."""

    def flush(self) -> AbstractContextManager[Connection]:
        """Return a fenced transaction, for results that are kept before the job ends.

        Raises:
            LeaseLost: the job is held elsewhere: nothing is written.
        """


class JobContext(Context, Protocol):
    """One attempt at a job."""

    @property
    def job(self) -> uuid.UUID:
        """The job's id."""

    @property
    def parent(self) -> uuid.UUID | None:
        """The parent's id, for a shard."""

    @property
    def number(self) -> int:
        """The attempt's number, from 1."""

    @property
    def owner(self) -> str:
        """The worker's name."""

    def renew(self) -> None:
        """Prolong the lease now, store the progress, and read the pending signal, without waiting for the next heartbeat."""

    @property
    def held_until(self) -> float:
        """The moment of `clock.now` until which this attempt surely holds the job, with time left to end what runs for it."""
