"""The rules about processes, devices and checkpoints: what the samples must never show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.nemesis.checker import Found
from tests.nemesis.record import Record

ORPHAN_SECONDS = 10.0
# A pool's helper ends by itself, and is no part of any work.
_HELPERS = frozenset({"main", "tracker"})

Sample = tuple[float, list[dict[str, Any]], dict[str, list[int]], set[str]]


def samples(record: Record) -> Iterator[Sample]:
    """Time, living processes, takers of locks, and workers whose main process lives."""
    names = ("pid", "started", "worker", "role", "run", "device")
    for event in record.events_of("processes"):
        alive = [dict(zip(names, one, strict=True)) for one in event["alive"]]
        yield event["t"], alive, event["locks"], set(event["mains"])


def no_process_outlives_its_worker(record: Record) -> Found:
    """Ten seconds after a worker's main process has died nothing of it is left."""
    dead_since: dict[str, float] = {}
    accused: set[tuple[int, int]] = set()
    for now, alive, _, mains in samples(record):
        workers = {process["worker"] for process in alive}
        dead_since = {worker: dead_since.get(worker, now) for worker in workers - mains}
        for process in alive:
            name = (process["pid"], process["started"])
            since = dead_since.get(process["worker"], now)
            if now - since > ORPHAN_SECONDS and process["role"] not in _HELPERS and name not in accused:
                accused.add(name)
                yield f"{process['role']} {process['pid']} of {process['worker']}", f"lives {now - since:.1f} s after its worker"


def nothing_is_left_behind(record: Record) -> Found:
    """When all workers have left, no process of theirs is there."""
    for process in record.left_behind:
        yield process, "is there although all workers have left"


def workers_leave_when_asked(record: Record) -> Found:
    """At the end, with all servers well, each worker leaves by itself and in time."""
    for event in record.events_of("worker dismissed"):
        if event["code"] is None:
            yield event["worker"], "had to be killed"


def a_device_has_one_training(record: Record) -> Found:
    """No two trainings have ranks on one device at the same moment."""
    yield from _shared(record, lambda ranks: _by(ranks, "device", "run"), "ranks of {} lived at once on device {}")


def a_job_has_one_group_of_ranks(record: Record) -> Found:
    """No two attempts at one job have ranks at the same moment."""
    yield from _shared(record, _attempts_by_job, "ranks of attempts {} lived at once for job {}")


def a_lock_has_one_training(record: Record) -> Found:
    """The ranks that share a device's lock are all of one training."""
    accused: set[tuple[str, ...]] = set()
    for now, alive, locks, _ in samples(record):
        runs = {process["pid"]: process["run"] for process in alive if process["role"] == "rank"}
        for lock, pids in locks.items():
            holders = tuple(sorted({runs[pid] for pid in pids if pid in runs}))
            if len(holders) > 1 and holders not in accused:
                accused.add(holders)
                yield lock, f"at {now:.1f} held by ranks of {' and '.join(holders)}"


def _shared(record: Record, group: Callable[[Sequence[dict[str, Any]]], dict[str, set[str]]], problem: str) -> Found:
    seen: dict[tuple[str, tuple[str, ...]], list[float]] = defaultdict(list)
    for now, alive, _, _ in samples(record):
        ranks = [process for process in alive if process["role"] == "rank" and process["run"]]
        for subject, parties in group(ranks).items():
            if len(parties) > 1:
                seen[subject, tuple(sorted(parties))].append(now)
    for (subject, together), times in seen.items():
        yield subject, problem.format(" and ".join(together), subject) + f", seen {len(times)} times in {times[-1] - times[0]:.1f} s"


def _by(ranks: Sequence[dict[str, Any]], key: str, value: str) -> dict[str, set[str]]:
    grouped: dict[str, set[str]] = defaultdict(set)
    for rank in ranks:
        grouped[rank[key]].add(rank[value])
    return grouped


def _attempts_by_job(ranks: Sequence[dict[str, Any]]) -> dict[str, set[str]]:
    grouped: dict[str, set[str]] = defaultdict(set)
    for rank in ranks:
        job, _, attempt = rank["run"].partition("/")
        grouped[job].add(attempt)
    return grouped


PROCESS_RULES: dict[str, Callable[[Record], Found]] = {
    rule.__name__: rule
    for rule in (
        no_process_outlives_its_worker,
        nothing_is_left_behind,
        workers_leave_when_asked,
        a_device_has_one_training,
        a_job_has_one_group_of_ranks,
        a_lock_has_one_training,
    )
}
