"""The door of training: start a run, follow it, stop it when asked, and return what it left.

The worker that calls this never imports torch: the ranks are processes of their own, so CUDA is never forked and memory is given back.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from schemas.payloads import TrainingSpec
from workers.training.outcome import (
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
from workers.training.payload import RunPayload
from workers.training.progress import PROGRESS_FILE, Done, ProgressReader, Start, Step

LOG_FILE = "ranks.log"
LOG_TAIL_LINES = 40
POLL_SECONDS = 0.2
STOP_POLL_SECONDS = 1.0
STOP_LIMIT_SECONDS = 15.0


def run(
    spec: TrainingSpec,
    train_file: Path,
    run_folder: Path,
    on_progress: Callable[[Start | Step | Done], None],
    should_stop: Callable[[], StopReason | None],
) -> TrainingResult:
    """Train on `train_file` and return what came of it. When this returns or raises, no process of the run is left.

    Args:
        spec: what to train.
        train_file: JSONL of `{"prompt": [{"role", "content"}, …], "completion": "…"}`.
        run_folder: where the run keeps its files; those of an earlier attempt are removed.
        on_progress: gets each event, in this thread.
        should_stop: asked about once a second; a reason stops the run.

    Raises:
        TrainingStopped: because `should_stop` gave a reason.
        TrainingFailed: with its kind and the end of the log.
    """
    run_folder = run_folder.resolve()
    payload = RunPayload(spec=spec, train_file=train_file.resolve(), run_folder=run_folder)
    _clear(payload)
    with (run_folder / LOG_FILE).open("w") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "workers.training.supervisor", str(payload.write()), str(os.getpid())],
            env=_environment(spec),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _follow(supervisor, ProgressReader(run_folder), on_progress, should_stop)
    finally:
        _end(supervisor)
    if supervisor.returncode != 0:
        raise _failure(supervisor.returncode, run_folder)
    return TrainingResult.model_validate_json((run_folder / RESULT_FILE).read_text(encoding="utf-8"))


def _clear(payload: RunPayload) -> None:
    """Make the run's folder as new: ranks that met in the store file of an earlier attempt would wait for its dead."""
    folder = payload.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    for file in (payload.store_file, payload.rendezvous_file, *(folder / name for name in (RESULT_FILE, FAILURE_FILE, PROGRESS_FILE))):
        file.unlink(missing_ok=True)
    for subfolder in (payload.adapter_folder, payload.torchrun_folder):
        shutil.rmtree(subfolder, ignore_errors=True)


def _environment(spec: TrainingSpec) -> dict[str, str]:
    """The environment of the supervisor and the ranks: threads shared out, loopback alone, our packages first."""
    here = str(Path(__file__).parents[2])
    env = {
        **os.environ,
        "ACCELERATE_USE_DEEPSPEED": "true",
        "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // spec.world_size)),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        # torchrun's agent would open a TCP store on every interface; the ranks meet in a file instead.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if Path(spec.base).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    return env


def _follow(
    supervisor: subprocess.Popen[bytes],
    progress: ProgressReader,
    on_progress: Callable[[Start | Step | Done], None],
    should_stop: Callable[[], StopReason | None],
) -> None:
    asked = float("-inf")
    while supervisor.poll() is None:
        for event in progress.read():
            on_progress(event)
        if time.monotonic() - asked >= STOP_POLL_SECONDS:
            asked = time.monotonic()
            if reason := should_stop():
                raise TrainingStopped(reason)
        time.sleep(POLL_SECONDS)
    for event in progress.read():
        on_progress(event)


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    if supervisor.poll() is None:
        supervisor.terminate()
    try:
        supervisor.wait(STOP_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        # The ranks die with it: each asked the kernel for SIGKILL when its parent goes.
        supervisor.kill()
        supervisor.wait()


def _failure(code: int, run_folder: Path) -> TrainingFailed:
    tail = "\n".join((run_folder / LOG_FILE).read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:])
    kinds: dict[int, FailureKind] = {exit_code: kind for kind, exit_code in EXIT_CODES.items()}
    kind = kinds.get(code, "crash")
    known = read_failure(run_folder)
    if known is not None and known.kind == kind:
        return TrainingFailed(kind, known.message, tail)
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return TrainingFailed(kind, f"the ranks ended with {how}; the log is {run_folder.name}/{LOG_FILE}", tail)
