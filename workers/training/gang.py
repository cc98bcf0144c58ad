"""Leads the nodes of a training: calls the members, starts the ranks once all have joined, and ends them when one is lost.

Either all nodes start or all workers give back: a leader waits a bounded time for its members, and makes way at once for one that
has waited longer. A start has a random token; whatever a member says of another one does not count. `workers/training/member.py` is
the other side, `workers/jobs/members.py` moves the rows.
"""

from __future__ import annotations

import logging
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.exc import DBAPIError

from workers import clock, files
from workers.database import transaction
from workers.errors import LeaseLost, Unavailable, UserError
from workers.jobs import members
from workers.jobs.context import GivenBack, JobContext
from workers.jobs.members import CALL, Member
from workers.settings import get_settings
from workers.training.launcher import network
from workers.training.protocol.gang_plan import FAILED, JOINED, GangCall, GangPlan, MemberFailure, joined_as
from workers.training.protocol.outcome import StopReason, TrainingFailed, TrainingStopped
from workers.training.protocol.payload import Meeting, RunPayload

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.3
_WATCH_SECONDS = 1.0
_BLAME_SECONDS = 3.0  # that a member gets to say why its ranks ended
_MAKE_WAY_SECONDS = 5.0

ShouldStop = Callable[[], StopReason | None]


@contextmanager
def gathered(attempt: JobContext, run: RunPayload) -> Iterator[tuple[RunPayload, ShouldStop]]:
    """Yield the run to launch on this node and what to ask whether it must stop, once the members of the other nodes have joined.

    Raises:
        GivenBack: they did not come in time.
        UserError: a member can't take part.
        TrainingFailed: a member's ranks failed, or a member was lost.
        Stopped: a member's worker is leaving, and the ranks have left with a checkpoint.
    """
    if run.spec.nodes == 1:
        yield run, lambda: attempt.pending_signal
        return
    gang = _Gang(attempt, run)
    try:
        meeting = gang.gather()
        yield run.model_copy(update={"meeting": meeting}), gang.should_stop
    except TrainingStopped as stop:
        if stop.reason != "broken":
            raise
        raise gang.blame(TrainingFailed("crash", gang.lost)) from stop
    except TrainingFailed as failure:
        raise gang.blame(failure) from failure
    finally:
        gang.dismiss()


class _Gang:
    """The members of one start of the ranks."""

    def __init__(self, attempt: JobContext, run: RunPayload) -> None:
        self._attempt = attempt
        self._nodes = run.spec.nodes
        self._plan = GangPlan(
            token=uuid.uuid4().hex,
            spec=run.spec,
            base_sha256=run.base_sha256,
            train_sha256=files.sha256_of_file(run.train_file),
            resume_from=run.resume_from.name if run.resume_from else None,
            dtype=run.dtype,
        )
        digest = self._plan.write(run.run_folder)
        address = network.own_address()
        self._call = GangCall(
            attempt=attempt.number, token=self._plan.token, plan_sha256=digest, host=socket.gethostname(), address=address
        )
        self._joined: dict[uuid.UUID, Member] = {}
        self._looked = float("-inf")
        self._stop: StopReason | None = None
        self.lost = ""

    def gather(self) -> Meeting:
        """Wait for the members, and let all of them start."""
        settings = get_settings()
        self._tell(self._call)
        limit = clock.now() + settings.gang_wait + settings.lease  # a lost worker's member is free after a lease
        while True:
            self._attempt.check()
            found = self._look()
            claimed = [member for member in found if member.is_running]
            ready = [member for member in claimed if member.progress.get(JOINED) == joined_as(self._plan.token, member.attempt)]
            if len(ready) == self._nodes - 1:
                break
            self._attempt.progress(phase=f"{len(claimed) + 1} of {self._nodes} workers are here")
            # A member that is here may take long to write its file; only who is missing is waited for in vain.
            if len(claimed) < self._nodes - 1:
                self._give_way(clock.now() > limit, len(claimed) + 1)
            time.sleep(_LOOK_SECONDS)
        self._joined = {member.id: member for member in ready}
        where = ", ".join(f"node {member.node} {member.owner}" for member in ready)
        self._attempt.progress(phase="training")
        self._call = self._call.model_copy(update={"port": network.port_to_listen_on()})
        self._tell(self._call)
        self._attempt.log(f"{self._nodes} nodes: node 0 {self._attempt.owner} at {self._call.address}:{self._call.port}, {where}")
        interface = network.own_interface()
        return Meeting(id=self._plan.token, node=0, address=self._call.address, port=self._call.port, interface=interface)

    def _tell(self, call: GangCall) -> None:
        self._attempt.progress(**{CALL: call.model_dump()})
        self._attempt.renew()

    def _look(self) -> tuple[Member, ...]:
        """Queue members that have ended, and return how all stand.

        Raises:
            UserError: one can't take part.
        """
        with self._attempt.flush() as connection:
            members.call(connection, self._attempt.job)
            found = members.members(connection, self._attempt.job)
        if len(found) != self._nodes - 1:
            raise UserError(f"the job has {len(found) + 1} members and nodes is {self._nodes}: enqueue it again")
        for member in found:
            if (failure := self._failure_of(member)) is not None:
                raise _as_error(member, failure)
        return found

    def _failure_of(self, member: Member) -> MemberFailure | None:
        said = member.progress.get(FAILED)
        failure = MemberFailure.model_validate(said) if said else None
        return failure if failure and failure.token == self._plan.token else None

    def _give_way(self, is_late: bool, here: int) -> None:
        if is_late:
            wait = get_settings().gang_wait
            raise GivenBack(
                f"{here} of {self._nodes} workers came within {wait + get_settings().lease:.0f} s: start more training workers, "
                "or lower nodes. Other jobs go first now",
                delay=wait * random.uniform(0.5, 1),
            )
        with transaction() as connection:
            if members.older_waits(connection, self._attempt.job):
                raise GivenBack("an earlier training waits for workers too, and goes first", delay=_MAKE_WAY_SECONDS)

    def should_stop(self) -> StopReason | None:
        """Return why the ranks of this node must stop: a signal to this job, a member whose worker is leaving, or one that is lost."""
        if (mine := self._attempt.pending_signal) is not None:
            return mine
        if clock.now() - self._looked >= _WATCH_SECONDS:
            self._looked = clock.now()
            with suppress(Unavailable, DBAPIError):  # the lease decides for how long Postgres may be away
                self._watch()
        return self._stop

    def _watch(self) -> None:
        with transaction() as connection:
            found = members.members(connection, self._attempt.job)
        for member in found:
            joined = self._joined[member.id]
            if member.has_left(joined):  # perhaps gone already: a quick worker is, between two looks
                self._stop = self._stop or "drain"
            elif not member.still_holds(joined):
                self.lost = f"node {member.node} is lost: worker {member.owner} does not hold it any more"
                self._stop = "broken"

    def blame(self, own: TrainingFailed) -> Exception:
        """Return the error of the member that failed first, where this node's ranks only lost their peers; else `own`."""
        if own.kind != "crash":
            return own
        until = clock.now() + _BLAME_SECONDS
        while True:
            with suppress(Unavailable, DBAPIError), transaction() as connection:
                for member in members.members(connection, self._attempt.job):
                    failure = self._failure_of(member)
                    if failure is not None and (self.lost or failure.kind != "crash"):
                        return _as_error(member, failure)
            if clock.now() > until:
                break
            time.sleep(_LOOK_SECONDS)
        others = "" if self.lost else ". A lost node ends the ranks of all: the logs of the others are in the same folder"
        return TrainingFailed(own.kind, f"{own}{others}", own.log_tail)

    def dismiss(self) -> None:
        """Let no worker take what is not taken yet. Without Postgres, a member that is taken later finds no call and ends."""
        with suppress(Unavailable, DBAPIError, LeaseLost), self._attempt.flush() as connection:
            members.dismiss(connection, self._attempt.job)


def _as_error(member: Member, failure: MemberFailure) -> Exception:
    message = f"node {member.node}, worker {member.owner}: {failure.message}"
    if failure.kind == "unavailable":
        return Unavailable(message)
    if failure.kind == "user":
        return UserError(message)
    return TrainingFailed(failure.kind, message, failure.log_tail)
