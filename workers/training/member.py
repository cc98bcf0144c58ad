"""Trains as one more node of a gang: joins the leader's call, runs this node's ranks, and ends when the leader does.

A member writes neither progress nor checkpoints nor results: rank 0 is the leader's. Its own lease guards its ranks, so a worker that
freezes loses them before another takes its place.
"""

from __future__ import annotations

import logging
import socket
import time
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from schemas.states import JobState
from schemas.training import GangMember
from workers import clock, files
from workers.catalog import models
from workers.database import transaction
from workers.errors import LeaseLost, Unavailable, UserError
from workers.file_permissions import make_private
from workers.jobs import members
from workers.jobs.context import JobContext, Outcome, Stopped
from workers.jobs.members import Leader
from workers.settings import get_settings
from workers.training import examples
from workers.training.devices import check_devices
from workers.training.job import CHECKPOINTS, base_sha256
from workers.training.launcher import launch, network
from workers.training.protocol.gang_plan import FAILED, JOINED, GangCall, GangPlan, MemberFailure, MemberFailureKind, joined_as, plan_file
from workers.training.protocol.outcome import StopReason, TrainingFailed, TrainingStopped
from workers.training.protocol.payload import Meeting, RunPayload
from workers.training.recorder import attempt_folder

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.3
_WATCH_SECONDS = 1.0
_PLAN_SECONDS = 10.0  # that a shared folder may take to show a file which the leader wrote


def serve(attempt: JobContext, member: GangMember) -> Outcome:
    """Take part in the leader's start of the ranks, and end as it does: done with it, else cancelled until the next call."""
    watch = _Watch(attempt)
    call = watch.call()
    if call is None:
        return watch.end()
    watch.expected = call
    try:
        _take_part(attempt, member, watch, call)
    except TrainingFailed as failure:
        _report(attempt, call, failure.kind, str(failure), failure.log_tail)
    except UserError as error:
        _report(attempt, call, "user", str(error))
    return watch.end()


def _take_part(attempt: JobContext, member: GangMember, watch: _Watch, call: GangCall) -> None:
    check_devices(attempt, member.spec)
    run = _prepare(attempt, member, call)
    try:
        started = _join(attempt, watch, call)
        if started is not None:
            _train(attempt, watch, run, started, member.node)
    finally:
        examples.remove(run.run_folder)


class _Watch:
    """What this member knows of its leader. While Postgres is away it keeps to what it knew: the lease decides for how long."""

    def __init__(self, attempt: JobContext) -> None:
        assert attempt.parent is not None
        self._attempt = attempt
        self._leader = attempt.parent
        self._looked = float("-inf")
        self._known = self._ask()
        self.expected: GangCall | None = None

    def _ask(self) -> Leader:
        with transaction() as connection:
            return members.leader_of(connection, self._leader)

    def look(self) -> Leader:
        """Return how the leader stands, about a second ago at most."""
        if clock.now() - self._looked >= _WATCH_SECONDS:
            self._looked = clock.now()
            with suppress(Unavailable, DBAPIError):
                self._known = self._ask()
        return self._known

    def call(self) -> GangCall | None:
        """Return the leader's call; None while it is not running, or has not called in its attempt."""
        known = self.look()
        with suppress(ValidationError):
            call = GangCall.model_validate(known.call)
            if known.state is JobState.RUNNING and call.attempt == known.attempt:
                return call
        return None

    def is_current(self) -> bool:
        """Return whether the leader still goes by the call that was joined."""
        call = self.call()
        return call is not None and self.expected is not None and call.token == self.expected.token

    def should_stop(self) -> StopReason | None:
        """Return why this node's ranks must stop."""
        if (mine := self._attempt.pending_signal) is not None:
            return mine
        return None if self.is_current() else "broken"

    def end(self) -> Outcome:
        """Return what ends this member with its leader's training.

        Raises:
            Stopped: to be cancelled: the leader goes on without this attempt, or is no longer there.
        """
        if self._ask().state is not JobState.DONE:
            raise Stopped("cancel")
        return Outcome()


def _prepare(attempt: JobContext, member: GangMember, call: GangCall) -> RunPayload:
    """Write this node's files, and make sure that they are those of the leader.

    Raises:
        UserError: they are not, with what to do about it.
    """
    if network.is_loopback(call.address) and call.host != socket.gethostname():
        raise UserError(
            f"the leader on {call.host} names {call.address}, which no other machine reaches: "
            "set TWEETMILL_GANG_INTERFACE or TWEETMILL_GANG_ADDRESS for its worker"
        )
    runs = get_settings().runs_folder / str(attempt.parent)
    plan = _read_plan(attempt, runs / attempt_folder(call.attempt), call)
    base = models.locate_base(member.spec.base)
    folder = runs / attempt_folder(call.attempt) / f"node-{member.node}"
    make_private(folder)
    run = RunPayload(
        spec=plan.spec.model_copy(update={"base": base}),
        base_sha256=base_sha256(Path(base)),
        train_file=folder / examples.TRAIN_FILE,
        eval_file=folder / examples.EVAL_FILE if plan.spec.eval_rows else None,
        run_folder=folder,
        attempt=call.attempt,
        checkpoint_folder=runs / CHECKPOINTS,
        resume_from=runs / CHECKPOINTS / plan.resume_from if plan.resume_from else None,
        dtype=plan.dtype,
    )
    if run.base_sha256 != plan.base_sha256:
        raise UserError(f"base {member.spec.base} has other weights here than on {call.host}: copy the same files to every node")
    if run.resume_from is not None and not run.resume_from.is_dir():
        raise UserError(f"checkpoint {plan.resume_from} is not here: {_SHARE}")
    examples.write(plan.spec, folder)
    if files.sha256_of_file(run.train_file) != plan.train_sha256:
        raise UserError(f"dataset {plan.spec.dataset} gives other examples here than on {call.host}: it changed meanwhile. Retry the job")
    return run


_SHARE = "with nodes above 1 all training workers need one shared folder of runs: mount it, and set TWEETMILL_RUNS to it on each"


def _read_plan(attempt: JobContext, folder: Path, call: GangCall) -> GangPlan:
    until = clock.now() + _PLAN_SECONDS
    while True:
        with suppress(OSError):
            content = plan_file(folder, call.token).read_text(encoding="utf-8")
            if files.sha256(content) == call.plan_sha256:
                return GangPlan.model_validate_json(content)
        if clock.now() > until:
            raise UserError(f"what {call.host} wrote to its folder of runs is not in {get_settings().runs_folder} here: {_SHARE}")
        attempt.check()
        time.sleep(_LOOK_SECONDS)


def _join(attempt: JobContext, watch: _Watch, call: GangCall) -> GangCall | None:
    """Say that this node is ready, and wait until the leader lets all start; return its address, or None if it gave up."""
    attempt.progress(**{JOINED: joined_as(call.token, attempt.number), "host": socket.gethostname()})
    attempt.renew()
    while watch.is_current():
        current = watch.call()
        if current is not None and current.port:
            return current
        attempt.check()
        time.sleep(_LOOK_SECONDS)
    return None


def _train(attempt: JobContext, watch: _Watch, run: RunPayload, call: GangCall, node: int) -> None:
    meeting = Meeting(id=call.token, node=node, address=call.address, port=call.port, interface=network.own_interface())
    run = run.model_copy(update={"meeting": meeting})
    try:
        launch.run_ranks(run, lambda _: None, watch.should_stop, lambda: attempt.held_until)
    except TrainingStopped as stop:
        _stopped(stop)
    except Unavailable as error:
        _report(attempt, call, "unavailable", str(error))
        return
    while watch.is_current():  # the leader stores the model
        attempt.check()
        time.sleep(_LOOK_SECONDS)


def _stopped(stop: TrainingStopped) -> None:
    if stop.reason == "lost":
        raise LeaseLost from stop
    if stop.reason != "broken":
        raise Stopped(stop.reason) from stop


def _report(attempt: JobContext, call: GangCall, kind: MemberFailureKind, message: str, log_tail: str = "") -> None:
    """Leave word for the leader why this node's ranks ended."""
    logger.warning("this node's part has failed: %s", message)
    failure = MemberFailure(token=call.token, kind=kind, message=message[:2000], log_tail=log_tail[-8000:])
    attempt.progress(**{FAILED: failure.model_dump()})
    attempt.renew()
