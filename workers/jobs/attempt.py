"""Runs one attempt at a job, from the claim to the commit.

`run` is all that a Celery task calls: it claims, renews the lease from a thread, passes an `Attempt` to the job's code, and turns
what that returns or raises into the job's next state. The code of a domain package knows nothing of Celery, leases or retries.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from schemas.bounds import STORED
from schemas.payloads import Payload
from schemas.states import JobState
from workers import clock, logs
from workers.database import transaction
from workers.errors import Busy, LeaseLost, TweetmillError, Unavailable, UserError
from workers.jobs import ledger
from workers.jobs.context import GivenBack, JobContext, Outcome, Signal, Stopped
from workers.jobs.failures import words_of
from workers.redaction import redact
from workers.settings import RENEWED_WITHIN, get_settings

logger = logging.getLogger(__name__)
P = TypeVar("P", bound=Payload)

_COMMIT_TRIES = 30
_AFTER_OUTAGE = 5.0  # seconds before a job may run again whose server did not answer


class Attempt:
    """A claimed job and its lease: the `JobContext` of a job in the queue."""

    def __init__(self, claim: ledger.Claim, owner: str, heartbeat: float, asked: float) -> None:
        self.claim = claim
        self.owner = owner
        self._heartbeat = heartbeat
        self._progress: dict[str, Any] | None = None
        self._signal: Signal | None = None
        self._renewed = asked
        self._wake = threading.Event()

    @property
    def job(self) -> uuid.UUID:
        """The job's id."""
        return self.claim.job

    @property
    def parent(self) -> uuid.UUID | None:
        """The parent's id, for a shard."""
        return self.claim.parent

    @property
    def number(self) -> int:
        """The attempt's number, from 1."""
        return self.claim.attempt

    @property
    def pending_signal(self) -> Signal | None:
        """None, or why the work must stop as soon as it can."""
        # Cut off from Postgres, whatever was signalled before: stop while no other worker may start.
        return "lost" if clock.now() > self.held_until else self._signal

    @property
    def held_until(self) -> float:
        """The moment of `clock.now` until which this attempt surely holds the job, with time left to end what runs for it."""
        return self._renewed + self.claim.lease * RENEWED_WITHIN

    def check(self) -> None:
        """Raise if this attempt must stop.

        Raises:
            Stopped: cancel or drain.
            LeaseLost: another attempt holds the job, or Postgres was out of reach for three quarters of a lease.
        """
        signal = self.pending_signal
        if signal == "lost":
            raise LeaseLost
        if signal is not None:
            raise Stopped(signal)

    def progress(self, **fields: Any) -> None:
        """Show progress, stored at the next renewal. Numbers and short words only, never a tweet."""
        self._progress = {**(self._progress or {}), **fields}

    def log(self, message: str) -> None:
        """Append a line to the job's log. Never a tweet."""
        with transaction() as connection:
            ledger.log(connection, self.claim, message)

    @contextmanager
    def flush(self) -> Iterator[Connection]:
        """Open a fenced transaction, for results that are kept before the job ends.

        Raises:
            LeaseLost: the job is held elsewhere: nothing is written.
        """
        with transaction() as connection:
            ledger.fence(connection, self.claim)
            yield connection

    def renew(self) -> None:
        """Prolong the lease once, store the progress, and read the pending signal."""
        asked = clock.now()
        try:
            with transaction() as connection:
                self._signal = ledger.renew(connection, self.claim, self._progress) or self._signal
            self._renewed = asked
        except LeaseLost:
            self._signal = "lost"
        except (Unavailable, DBAPIError) as error:
            logger.warning("renewal failed: %s", type(error).__name__)

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Renew the lease from a thread while the block runs."""

        def beat() -> None:
            while not self._wake.wait(self._heartbeat):
                self.renew()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._wake.set()
            thread.join(timeout=self._heartbeat)

    def last_progress(self) -> dict[str, Any] | None:
        """Return the progress shown last."""
        return self._progress


def run(job_id: str, owner: str, payload_type: type[P], body: Callable[[JobContext, P], Outcome], kind: str | None = None) -> None:
    """Claim job `job_id`, call `body`, and commit its outcome. A delivery that finds nothing to claim ends quietly.

    Args:
        job_id: what the message carried.
        owner: the worker's name.
        payload_type: what the job's payload must be.
        body: the job's code.
        kind: the task's name; a job of another kind is left alone.
    """
    settings = get_settings()
    try:
        job = uuid.UUID(job_id)
    except (ValueError, TypeError, AttributeError):
        logger.warning("skipped a message whose argument is no job id")
        return
    asked = clock.now()
    with transaction() as connection:
        claim = ledger.claim(connection, job, owner, settings.lease, kind)
    if claim is None:
        logger.info("skipped job %s: nothing to claim", job)
        return
    logs.bind(job=job, attempt=claim.attempt)
    attempt = Attempt(claim, owner, settings.heartbeat, asked)
    try:
        with attempt.kept_alive():
            _work(attempt, payload_type, body)
    except LeaseLost:
        logger.warning("lost the lease: another attempt goes on, nothing was written")
    finally:
        logs.unbind()


def _work(attempt: Attempt, payload_type: type[P], body: Callable[[JobContext, P], Outcome]) -> None:
    try:
        outcome = body(attempt, _payload(attempt, payload_type))
        _commit(attempt, lambda connection: _succeed(connection, attempt, outcome))
        _clean_up(outcome)
    except LeaseLost:
        raise
    except Stopped as stop:
        if stop.reason == "cancel":
            _commit(attempt, lambda connection: ledger.finish(connection, attempt.claim, JobState.CANCELLED))
        else:
            _commit(attempt, lambda connection: ledger.release(connection, attempt.claim))
    except GivenBack as back:
        reason, delay = redact(str(back)), back.delay
        logger.info("gave the job back: %s", reason)
        _commit(attempt, lambda connection: ledger.release(connection, attempt.claim, reason, delay=delay))
    except Unavailable as error:
        reason = redact(str(error))  # no server answers, or a GPU is held: words of ours, and none of a row
        logger.warning("gave the job back: %s", reason)
        growth = 2.0 if isinstance(error, Busy) else 1.0  # a GPU may be held for days
        _commit(attempt, lambda connection: ledger.release(connection, attempt.claim, reason, delay=_AFTER_OUTAGE, growth=growth))
    except UserError as error:
        described = _describe(error, attempt)
        logger.warning("failed: %s", described["message"])
        _commit(attempt, lambda connection: ledger.finish(connection, attempt.claim, JobState.FAILED, error=described))
    except Exception as error:
        described = _describe(error, attempt)
        # Without the exceptions' own texts, which may quote a row: a database's does.
        shown = (described["class"], described["message"], described.get("log_tail", ""))
        logger.error("the attempt failed: %s: %s\n%s", *shown)  # noqa: TRY400
        _commit(attempt, lambda connection: ledger.fail(connection, attempt.claim, described))


def _payload(attempt: Attempt, payload_type: type[P]) -> P:
    try:
        return payload_type.model_validate(attempt.claim.payload, context=STORED)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, wrong["loc"])) for wrong in error.errors(include_input=False, include_url=False))
        raise UserError(f"the payload does not fit this version of tweetmill: {fields}") from None


def _succeed(connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
    if outcome.writes is not None:
        ledger.fence(connection, attempt.claim)
        outcome.writes(connection)
    ledger.finish(connection, attempt.claim, JobState.DONE, result=outcome.result, progress=attempt.last_progress())


def _clean_up(outcome: Outcome) -> None:
    if outcome.afterwards is None:
        return
    try:
        outcome.afterwards()
    except Exception as error:  # the job is done, and a failure would say that it is not
        logger.warning("done, but cleaning up failed: %s", type(error).__name__)


def _describe(error: Exception, attempt: Attempt) -> dict[str, Any]:
    described: dict[str, Any] = {"class": type(error).__name__, "message": words_of(error)}
    described |= {"host": socket.gethostname(), "worker": attempt.owner}
    tail = getattr(error, "log_tail", None)
    if tail:
        described["log_tail"] = redact(str(tail)[-8000:])
    elif not isinstance(error, TweetmillError):
        described["log_tail"] = "".join(traceback.format_tb(error.__traceback__))[-4000:]
    return described


def _commit(attempt: Attempt, write: Callable[[Connection], object]) -> None:
    """Commit the attempt's end; while Postgres is unreachable retry for as long as the lease may last.

    A connection that breaks during the commit leaves open whether it succeeded. The next try then finds that the attempt has ended.
    """
    for tried in range(_COMMIT_TRIES):
        try:
            with transaction() as connection:
                if tried and ledger.has_ended(connection, attempt.claim):
                    return
                write(connection)
            return
        except Unavailable:
            if tried == _COMMIT_TRIES - 1 or attempt.pending_signal == "lost":
                raise LeaseLost from None
            time.sleep(min(2.0, 0.1 * 2**tried))
