"""Starts a run of the ranks, follows it, stops it when asked, and returns its result.

The worker that calls this never imports torch: the ranks are processes of their own, so CUDA is never forked and memory is given back.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workers.file_permissions import make_private
from workers.gpus import driver, gpu_locks
from workers.gpus.environment import for_computing
from workers.processes import descendants, kill
from workers.settings import ENVIRONMENT, get_settings
from workers.training.launcher.meter import Meter
from workers.training.protocol import deadline
from workers.training.protocol.outcome import (
    EXIT_CODES,
    FAILURE_FILE,
    RESULT_FILE,
    FailureKind,
    StopReason,
    TrainingFailed,
    TrainingResult,
    TrainingStopped,
    read_failure,
)
from workers.training.protocol.payload import ADAPTER_FOLDER, LOG_FILE, TORCHRUN_FOLDER, Meeting, RunPayload
from workers.training.protocol.progress import PROGRESS_FILE, Event, ProgressReader, Tokenizing

LOG_TAIL_LINES = 40
_AGENT_SAYS_FAILED = re.compile(r"torch/distributed/elastic/multiprocessing/api\.py:\d+\] failed \(exitcode")
FOLLOW_SECONDS = 0.2
STOP_POLL_SECONDS = 0.5
CHECKPOINT_GRACE = 60.0  # seconds that ranks which were asked to leave get for the step under way and their checkpoint
END_LIMIT_SECONDS = 15.0
GPU_PATIENCE = 10.0


def run(
    payload: RunPayload,
    on_progress: Callable[[Event], None],
    should_stop: Callable[[], StopReason | None],
    held_until: Callable[[], float] | None = None,
) -> TrainingResult:
    """Train as `payload` says and return the result. When this returns or raises, no process of the run is left on this node.

    Args:
        payload: what to train, where, and from which checkpoint on.
        on_progress: gets each event, in this thread.
        should_stop: asked about twice a second; a reason stops the run. At `drain` the ranks finish their step and make a checkpoint;
            at any other they end at once.
        held_until: until which moment of `clock.now` the ranks may run; asked as often. Without it there is no deadline.

    Raises:
        TrainingStopped: because `should_stop` gave a reason.
        TrainingFailed: with its kind and the end of the log.
        Busy: somebody else holds the GPUs.
    """
    meter = run_ranks(payload, on_progress, should_stop, held_until)
    result = TrainingResult.model_validate_json((payload.run_folder / RESULT_FILE).read_text(encoding="utf-8"))
    if payload.spec.nodes > 1:  # what the others used is not known here
        return result
    return result.model_copy(update={"energy_joules": meter.joules, "energy_source": meter.source if meter.joules else ""})


def run_ranks(
    payload: RunPayload,
    on_progress: Callable[[Event], None],
    should_stop: Callable[[], StopReason | None],
    held_until: Callable[[], float] | None = None,
) -> Meter:
    """Do the same on a node whose ranks write no result, because rank 0 is elsewhere; return what has measured its GPUs."""
    absolute = {"run_folder": payload.run_folder.resolve(), "train_file": payload.train_file.resolve()}
    payload = payload.model_copy(update=absolute | {"eval_file": payload.eval_file and payload.eval_file.resolve()})
    _clear(payload)
    with _devices(payload, should_stop) as held:
        payload = payload.model_copy(update={"locks": held.files})
        meter = Meter(held.devices)
        supervisor = _start(payload, held, held_until)
        try:
            _Follower(supervisor, payload, on_progress, should_stop, held_until, meter).follow()
        finally:
            _end(supervisor)
    if supervisor.returncode != 0:
        raise _failure(supervisor.returncode, payload.run_folder)
    return meter


@contextmanager
def _devices(payload: RunPayload, should_stop: Callable[[], StopReason | None]) -> Iterator[gpu_locks.Held]:
    """Hold a free GPU for each rank, of those that this worker sees; none where there is none or the recipe wants CPUs.

    Raises:
        TrainingStopped: while it waited, `should_stop` gave a reason.
        Busy: too few GPUs are free.
    """

    def check() -> None:
        if (reason := should_stop()) is not None:
            raise TrainingStopped(reason)

    visible = () if payload.spec.device == "cpu" else driver.visible_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES"))
    folder = gpu_locks.lock_folder(get_settings().locks_folder)
    job = (payload.checkpoint_folder or payload.run_folder).parent.name  # a member's run folder lies deeper
    with gpu_locks.held(visible, folder, GPU_PATIENCE, count=payload.spec.ranks_per_node, job=job, on_wait=check) as held:
        yield held


def _start(payload: RunPayload, held: gpu_locks.Held, held_until: Callable[[], float] | None) -> subprocess.Popen[bytes]:
    if held_until is not None:
        deadline.extend(payload.deadline_file, held_until())
    with payload.log_file.open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "workers.training.launcher.supervisor", str(payload.write()), str(os.getpid())],
            env={**_environment(payload, held.devices), "TRACKIO_DIR": str(payload.trackers_folder / "trackio")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=held.locks,
        )


def _clear(payload: RunPayload) -> None:
    """Remove the files of an earlier run: ranks that met in its store file would wait for its dead processes."""
    folder = payload.run_folder
    make_private(folder)
    own = (payload.store_file, payload.precision_file, payload.rendezvous_file, payload.stop_file, payload.deadline_file)
    for file in (*own, *(folder / name for name in (RESULT_FILE, FAILURE_FILE, PROGRESS_FILE))):
        file.unlink(missing_ok=True)
    remove_large(folder)


def remove_large(run_folder: Path) -> None:
    """Remove what is large in a run's folder, or of no use once it has ended; the log and the small files stay."""
    for name in (ADAPTER_FOLDER, TORCHRUN_FOLDER):
        shutil.rmtree(run_folder / name, ignore_errors=True)


def _environment(payload: RunPayload, devices: Sequence[str]) -> dict[str, str]:
    """Return the environment of the supervisor and the ranks: the GPUs that are held, threads shared out, one network interface."""
    env = {
        **for_computing(),
        "ACCELERATE_USE_DEEPSPEED": "true",
        "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // payload.spec.ranks_per_node)),
        **_network(payload.meeting),
    }
    if devices or payload.spec.device == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = driver.cuda_names(devices)
    if Path(payload.spec.base).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    return env


def _network(meeting: Meeting | None) -> dict[str, str]:
    """Return what the ranks talk over: loopback on one node; on several the interface of the settings, or what the operator exported."""
    if meeting is None:
        # torchrun's agent would open a TCP store on every interface; the ranks meet in a file instead.
        return {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    if meeting.interface is None:
        return {}
    return {"GLOO_SOCKET_IFNAME": meeting.interface, "NCCL_SOCKET_IFNAME": meeting.interface}


class _Follower:
    """Passes progress on to the caller and requests to stop on to the ranks, until the supervisor ends."""

    def __init__(
        self,
        supervisor: subprocess.Popen[bytes],
        payload: RunPayload,
        on_progress: Callable[[Event], None],
        should_stop: Callable[[], StopReason | None],
        held_until: Callable[[], float] | None,
        meter: Meter,
    ) -> None:
        self._supervisor = supervisor
        self._meter = meter
        self._payload = payload
        self._progress = ProgressReader(payload.run_folder)
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._held_until = held_until
        self._has_started = not payload.leads  # without rank 0 there is nobody here to say so
        self._leave_by: float | None = None

    def follow(self) -> None:
        """Return when the supervisor has ended.

        Raises:
            TrainingStopped: a reason to stop was given; the supervisor may still run.
        """
        asked = float("-inf")
        while self._supervisor.poll() is None:
            self._pass_on()
            if time.monotonic() - asked >= STOP_POLL_SECONDS:
                asked = time.monotonic()
                self._ask()
            if (used := self._meter.sample()) is not None:
                self._on_progress(used)
            time.sleep(FOLLOW_SECONDS)
        self._pass_on()
        self._meter.sample(at_once=True)
        if self._leave_by is not None and self._supervisor.returncode != 0:
            raise TrainingStopped("drain")

    def _pass_on(self) -> None:
        for event in self._progress.read():
            self._has_started = self._has_started or not isinstance(event, Tokenizing)
            self._on_progress(event)

    def _ask(self) -> None:
        reason = self._should_stop()
        if reason in ("cancel", "lost", "broken"):
            raise TrainingStopped(reason)
        if self._held_until is not None:
            deadline.extend(self._payload.deadline_file, self._held_until())
        if reason is None:
            return
        if self._leave_by is None:
            self._payload.stop_file.touch()
            self._leave_by = time.monotonic() + CHECKPOINT_GRACE
        if not self._has_started or time.monotonic() > self._leave_by:
            raise TrainingStopped(reason)  # nothing is learnt yet, or there is no time left to keep it


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    """End every process of the run: the ranks first, in case the supervisor hangs; then the supervisor, which reaps them."""
    if supervisor.poll() is None:
        kill(descendants(supervisor.pid))
        supervisor.terminate()
    try:
        supervisor.wait(END_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def log_tail(log: str) -> str:
    """Return the last lines of a run's log up to where torchrun says that a rank failed: its own traceback and report tell no more."""
    lines = log.splitlines()
    said = max((number for number, line in enumerate(lines, 1) if _AGENT_SAYS_FAILED.search(line)), default=len(lines))
    return "\n".join(lines[:said][-LOG_TAIL_LINES:])


def _failure(code: int, run_folder: Path) -> TrainingFailed:
    tail = log_tail((run_folder / LOG_FILE).read_text(encoding="utf-8", errors="replace"))
    kinds: dict[int, FailureKind] = {exit_code: kind for kind, exit_code in EXIT_CODES.items()}
    kind = kinds.get(code, "crash")
    known = read_failure(run_folder)
    if known is not None and known.kind == kind:
        return TrainingFailed(kind, known.message, tail)
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return TrainingFailed(kind, f"the ranks ended with {how}; the log is {run_folder.name}/{LOG_FILE}", tail)
