"""The supervisor: `python -m workers.training.launcher.supervisor PAYLOAD PARENT_PID`. It runs the ranks, and leaves none behind.

It starts torchrun and reaps all below it, whoever forked them; it ends them on SIGTERM, when its parent dies, when
one of them fails, when no step is made for too long, or when its parent has not extended the deadline. It imports no torch, so that it
answers at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from workers.memory import tells_of_memory
from workers.processes import adopt_orphans, die_with_parent, end_descendants
from workers.settings import ENVIRONMENT
from workers.training.protocol import deadline
from workers.training.protocol.outcome import EXIT_CODES, FAILURE_FILE, SUPERVISOR_PID, ExitCode, Failure, read_failure, record_failure
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import FIRST_STEP_ALLOWANCE, PROGRESS_FILE, STEP_MARK

POLL_SECONDS = 0.1
_LAST_WORDS = 1 << 16  # bytes
MEETING_SECONDS = 300  # in which the agents of all nodes must have met: one may wait for its GPUs a minute and load torch on a busy disk


class RankSupervisor:
    """Runs one group of ranks to its end."""

    def __init__(self, run: RunPayload, payload_file: Path) -> None:
        self._run = run
        self._payload_file = payload_file
        self._stop_requested = False
        self._kills_before = _oom_kills()
        self._log_begins = run.log_file.stat().st_size if run.log_file.exists() else 0

    def supervise(self) -> ExitCode:
        """Start the ranks, wait for them, end every process that is left, and return how it went."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        agent = subprocess.Popen(self._command(), env={**ENVIRONMENT, SUPERVISOR_PID: str(os.getpid())}, preexec_fn=die_with_parent)
        # Where rank 0 is elsewhere nothing is written here: its own supervisor watches, and its end is the end of all.
        limit = self._run.spec.stall_timeout if self._run.leads else float("inf")
        watch = Watchdog(self._run.run_folder / PROGRESS_FILE, limit)
        verdict: Failure | None = None
        while agent.poll() is None and verdict is None:
            time.sleep(POLL_SECONDS)
            verdict = self._verdict(watch)
        failed = agent.poll()
        if failed and self._stop_requested:  # the whole control group got the signal, and torchrun was quicker
            verdict = self._verdict(watch)
        if not end_descendants():
            sys.stderr.write("a process of this run is stuck in the kernel and could not be ended: this node needs a look\n")
        if verdict is not None:
            record_failure(self._run.run_folder, verdict)
            return EXIT_CODES[verdict.kind]
        return ExitCode.DONE if failed == 0 else self._diagnosis()

    def _verdict(self, watch: Watchdog) -> Failure | None:
        if self._stop_requested:
            return Failure(kind="preempted", message="the supervisor of the ranks was told to stop")
        if deadline.has_passed(self._run.deadline_file):
            return Failure(kind="preempted", message="the worker has not said for too long that the job is still ours")
        if watch.is_stalled():
            message = f"no step for {watch.limit:.0f} s: a rank hangs. Raise stall_timeout if steps are that slow"
            return Failure(kind="stall", message=message)
        return None

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop_requested = True

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes", str(self._run.spec.nodes), "--nproc_per_node", str(self._run.spec.ranks_per_node), "--max-restarts", "0"),
            *self._rendezvous(),
            *("--log-dir", str(self._run.torchrun_folder)),
            *("-m", "workers.training.rank.main", str(self._payload_file)),
        ]

    def _rendezvous(self) -> list[str]:
        """Where torchrun's agents meet.

        On one node both stores are files: torch's TCP store listens on every network interface, without a password. Several nodes need
        it. They meet by torchrun's static rendezvous, since its other one numbers the nodes by the sorting of their addresses, and rank 0
        must be the leader's.
        """
        meeting = self._run.meeting
        if meeting is None:
            file = ("--rdzv-endpoint", str(self._run.rendezvous_file), "--rdzv-conf", "store_type=file")
            return ["--rdzv-backend", "c10d", *file, "--rdzv-id", self._run.run_folder.name, "--local-addr", "127.0.0.1"]
        where = ("--master-addr", meeting.address, "--master-port", str(meeting.port), "--node-rank", str(meeting.node))
        return ["--rdzv-backend", "static", *where, "--rdzv-id", meeting.id, "--rdzv-conf", f"timeout={MEETING_SECONDS}"]

    def _diagnosis(self) -> ExitCode:
        if _oom_kills() > self._kills_before:
            message = "the kernel killed a rank for memory: lower per_device_train_batch_size or max_length"
            (self._run.run_folder / FAILURE_FILE).unlink(missing_ok=True)
            record_failure(self._run.run_folder, Failure(kind="oom", message=message))
        elif tells_of_memory(self._last_words()):
            # A native thread, such as NCCL's, ends the process before Python could say why; what a rank did say comes first.
            message = "a rank died for want of memory, as its log says: lower per_device_train_batch_size or max_length"
            record_failure(self._run.run_folder, Failure(kind="oom", message=message))
        failure = read_failure(self._run.run_folder)
        return EXIT_CODES[failure.kind] if failure else ExitCode.CRASH

    def _last_words(self) -> str:
        """The end of what this run, and not an earlier one, wrote to the log."""
        try:
            with self._run.log_file.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_begins, size - _LAST_WORDS))
                return log.read(_LAST_WORDS).decode(errors="replace")
        except OSError:
            return ""


class Watchdog:
    """Detects a run without progress. The first step may take five times as long: the model loads, kernels compile."""

    def __init__(self, progress_file: Path, timeout: float) -> None:
        self._file = progress_file
        self._timeout = timeout
        self._seen: tuple[int, int] | None = None
        self._changed = time.monotonic()
        self._has_stepped = False
        self.limit = timeout * FIRST_STEP_ALLOWANCE

    def is_stalled(self) -> bool:
        """Whether the last step is longer ago than is allowed. The file's own time is only compared with itself: clocks are set."""
        with contextlib.suppress(FileNotFoundError):
            status = self._file.stat()
            if self._seen != (status.st_mtime_ns, status.st_size):
                self._seen, self._changed = (status.st_mtime_ns, status.st_size), time.monotonic()
                self._has_stepped = self._has_stepped or STEP_MARK in self._file.read_bytes()
        self.limit = self._timeout if self._has_stepped else self._timeout * FIRST_STEP_ALLOWANCE
        return time.monotonic() - self._changed > self.limit


def _oom_kills() -> int:
    """How often the kernel killed for memory in this control group; 0 where it does not tell."""
    return sum(_count(file) for file in _memory_events())


def _memory_events() -> Iterator[Path]:
    """The files in which the kernel counts: one of version 2 of the control groups, one of version 1."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                yield Path("/sys/fs/cgroup") / group.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield Path("/sys/fs/cgroup/memory") / group.lstrip("/") / "memory.oom_control"


def _count(file: Path) -> int:
    try:
        words = file.read_text().split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return 0


def main(payload_file: Path, parent_pid: int) -> int:
    """Supervise the run of `payload_file` for as long as the process `parent_pid` lives."""
    adopt_orphans()
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent_pid:
        return ExitCode.PREEMPTED
    return RankSupervisor(RunPayload.read(payload_file), payload_file).supervise()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
