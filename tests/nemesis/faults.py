"""Inject the faults of a storm, and heal them.

A fault is a function under `@fault`: it strikes, and returns whom it hit and how that is healed, or None when there is nobody to hit just
now. `docs/nemesis.md` says how to add one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.nemesis.cluster import LEASE, Cluster
from tests.nemesis.keeper import Seat
from tests.nemesis.processes import Found
from tests.nemesis.schedule import Kind, Strike


@dataclass(frozen=True)
class Struck:
    """What a fault did.

    Attributes:
        whom: for the history.
        heal: undoes it.
        details: what else the checker must know.
    """

    whom: str
    heal: Callable[[], None] = lambda: None
    details: dict[str, Any] = field(default_factory=dict)


Inject = Callable[[Cluster, Strike], Struck | None]
KINDS: dict[str, Kind] = {}
INJECT: dict[str, Inject] = {}


def fault(touches: str, lasts: tuple[float, float] = (0.0, 0.0)) -> Callable[[Inject], Inject]:
    """Make a function a fault of the schedule, under its own name."""

    def enter(inject: Inject) -> Inject:
        name = inject.__name__
        KINDS[name], INJECT[name] = Kind(name, touches, lasts), inject
        return inject

    return enter


def load_all() -> None:
    """Import the modules that define the faults."""
    import tests.nemesis.faults_of_files
    import tests.nemesis.faults_of_servers  # noqa: F401


# Processes of the workers


def a_seat(cluster: Cluster, strike: Strike) -> Seat | None:
    """A worker that takes messages and was not asked to leave."""
    ready = [seat for seat in cluster.keeper.seats if seat.ready]
    return ready[strike.draw % len(ready)] if ready else None


def tell(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_one(cluster: Cluster, strike: Strike, role: str) -> Struck | None:
    """SIGKILL for a process of this role."""
    found = candidates(cluster, strike, role)
    if not found:
        return None
    victim = found[strike.draw % len(found)]
    tell(victim.pid, signal.SIGKILL)
    return Struck(named(victim))


def candidates(cluster: Cluster, strike: Strike, role: str) -> list[Found]:
    """Processes of a role; of a training's three times out of four only those of one that makes steps already."""
    found = cluster.found(role)
    if role == "child" or strike.draw % 4 == 0:
        return found
    stepping = {rank.worker for rank in cluster.found("rank") if makes_steps(cluster, rank)}
    return [one for one in found if one.worker in stepping]


def makes_steps(cluster: Cluster, rank: Found) -> bool:
    """Whether the training of this rank has made a step in this attempt."""
    job, _, attempt = rank.run.partition("/")
    progress = cluster.runs / job / f"attempt-{attempt}" / "progress.jsonl"
    return progress.exists() and b'"step"' in progress.read_bytes()


def named(found: Found) -> str:
    """A process, for people."""
    return f"{found.role} {found.pid} of {found.worker}"


@fault("workers")
def kill_worker(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGKILL for a worker's main process."""
    seat = a_seat(cluster, strike)
    if seat is None:
        return None
    tell(seat.pid, signal.SIGKILL)
    return Struck(seat.label)


@fault("workers")
def kill_pool_child(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGKILL for the process that works."""
    return kill_one(cluster, strike, "child")


@fault("ranks")
def kill_rank(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGKILL for one rank of a training."""
    return kill_one(cluster, strike, "rank")


@fault("ranks")
def kill_launcher(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGKILL for torchrun."""
    return kill_one(cluster, strike, "launcher")


@fault("ranks")
def kill_supervisor(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGKILL for the supervisor of the ranks."""
    return kill_one(cluster, strike, "supervisor")


@fault("workers", (LEASE + 1.5, LEASE + 5))
def pause_worker(cluster: Cluster, strike: Strike) -> Struck | None:
    """A worker and its pool freeze for longer than a lease, and wake up as zombies."""
    seat = a_seat(cluster, strike)
    if seat is None:
        return None
    children = [one.pid for one in cluster.found("child") if one.worker == seat.label]
    pids = [seat.pid, *children]

    def tell_all(number: signal.Signals) -> None:
        for pid in pids:
            tell(pid, number)

    tell_all(signal.SIGSTOP)
    return Struck(seat.label, lambda: tell_all(signal.SIGCONT))


@fault("ranks", (22.0, 26.0))
def pause_rank(cluster: Cluster, strike: Strike) -> Struck | None:
    """A rank freezes for longer than a training may stall: its peers hang in a collective operation."""
    ranks = candidates(cluster, strike, "rank")
    if not ranks:
        return None
    victim = ranks[strike.draw % len(ranks)]
    tell(victim.pid, signal.SIGSTOP)
    return Struck(named(victim), lambda: tell(victim.pid, signal.SIGCONT))


@fault("workers")
def terminate_worker(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGTERM: a node is scaled in."""
    seat = a_seat(cluster, strike)
    if seat is None:
        return None
    cluster.keeper.ask_to_leave(seat)
    return Struck(seat.label)


@fault("workers")
def terminate_and_kill_worker(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGTERM, and SIGKILL before the worker has left."""
    seat = a_seat(cluster, strike)
    if seat is None:
        return None
    pid = seat.pid
    cluster.keeper.ask_to_leave(seat)
    time.sleep(strike.draw % 100 / 50)
    tell(pid, signal.SIGKILL)
    return Struck(seat.label)


@fault("workers")
def drain_worker(cluster: Cluster, strike: Strike) -> Struck | None:
    """An operator drains a worker through the ledger."""
    seat = a_seat(cluster, strike)
    if seat is None:
        return None
    asked = "UPDATE worker SET orders = 'drain' WHERE name = :name AND pid = :pid RETURNING name"
    if not cluster.sql(asked, name=f"{seat.name}@test", pid=seat.pid):
        return None  # it has not said yet that it lives
    seat.leaving_since = time.monotonic()
    return Struck(seat.label)


@fault("rolling", (18.0, 24.0))
def rolling_restart(cluster: Cluster, strike: Strike) -> Struck | None:
    """Every worker is asked to leave, one when the one before is back."""
    until = time.monotonic() + strike.lasts
    for seat in cluster.keeper.seats:
        cluster.keeper.ask_to_leave(seat)
        left = seat.incarnation
        while time.monotonic() < until and not (seat.incarnation > left and seat.ready):
            time.sleep(0.1)
    return Struck("all workers")


@fault("workers", (10.0, 16.0))
def skew_clock(cluster: Cluster, strike: Strike) -> Struck | None:
    """A worker's clock goes wrong by two hours, once it has started."""
    seat = a_seat(cluster, strike)
    if seat is None:
        return None
    seat.clock_shift = 7200.0 if strike.draw % 2 else -7200.0
    cluster.keeper.ask_to_leave(seat)

    def heal() -> None:
        seat.clock_shift = 0.0
        cluster.keeper.ask_to_leave(seat)

    return Struck(f"{seat.name} {seat.clock_shift:+.0f} s", heal)


@fault("producer")
def kill_producer(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGKILL for the producer in the middle of a large batch."""
    producer = cluster.keeper.producer
    if producer is None or producer.poll() is not None:
        return None
    producer.send_signal(signal.SIGUSR1)
    time.sleep(0.05 + strike.draw % 100 / 250)
    tell(producer.pid, signal.SIGKILL)
    return Struck(f"producer {producer.pid}")
