"""Runs the child processes of an export and reads what they report: nothing of torch stays in the worker's memory.

A child reads its request from standard input and writes its report to standard output, both as JSON: tweets are in no file.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from workers.errors import TweetmillError, UserError
from workers.exports import room
from workers.gpus.environment import for_computing
from workers.jobs.context import Context
from workers.settings import get_settings

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=BaseModel)
Q = TypeVar("Q", bound=BaseModel)

BUILD = "workers.exports.weights.build"
ORIGINAL = "workers.exports.weights.original"
PROBE = "workers.exports.engines.main"
"""The modules: each has a function `work`, from its request to its report."""

_LOOK_EVERY = 1.0
_TAIL = 2000  # characters of what a child that crashed said last


class Run(Protocol):
    """Does what one of the modules does: `run`, in a process of its own."""

    def __call__(self, context: Context, module: str, request: BaseModel, report: type[R]) -> R:
        """See `run`."""
        ...


class ChildFailed(TweetmillError):
    """A child process of the export ended without a report."""


class _Failure(BaseModel):
    """What a child reports that could not do what was asked: `user` where the input is at fault."""

    failed: str
    user: bool


def threads() -> int:
    """Return how many CPU threads a child computes with."""
    return get_settings().threads or len(os.sched_getaffinity(0))


def run(context: Context, module: str, request: BaseModel, report: type[R]) -> R:
    """Run a module as a process with a request, until it has reported.

    Raises:
        UserError: what was asked for can't be done with these files.
        ChildFailed: it ended otherwise.
        Stopped: the job must stop; the child is gone.
    """
    # A file: `communicate` forgets what it had not yet written to a pipe when its time is up.
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said:
        asked.write(request.model_dump_json().encode())
        asked.seek(0)
        child = subprocess.Popen((sys.executable, "-m", module), env=_environment(), stdin=asked, stdout=subprocess.PIPE, stderr=said)
        try:
            out = _communicate(context, child)
        finally:
            child.kill()
            child.wait()
        said.seek(0)
        tail = said.read()[-_TAIL:].decode(errors="replace")
    try:
        return report.model_validate_json(out)
    except ValidationError:
        failure = _failure(out)
    if failure is None:
        logger.error("%s ended with exit code %s and said: %s", module, child.returncode, tail)
        name = module.rpartition(".")[2]
        raise ChildFailed(f"the process {name} ended with exit code {child.returncode}: the worker's log has what it said")
    raise UserError(failure.failed) if failure.user else ChildFailed(failure.failed)


def _communicate(context: Context, child: subprocess.Popen[bytes]) -> bytes:
    while True:
        try:
            return child.communicate(timeout=_LOOK_EVERY)[0]
        except subprocess.TimeoutExpired:
            context.check()


def _environment() -> dict[str, str]:
    # Nothing is fetched while an export is checked, and it is computed on the CPU: a GPU may be held by others.
    return for_computing() | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TRANSFORMERS_VERBOSITY": "error"}


def _failure(out: bytes) -> _Failure | None:
    try:
        return _Failure.model_validate_json(out)
    except ValidationError:
        return None


def serve(request: type[Q], work: Callable[[Q], BaseModel]) -> int:
    """Do in a child what its request asks; return its exit code. What libraries print goes to standard error."""
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        with room.told():
            report: BaseModel = work(request.model_validate_json(sys.stdin.buffer.read()))
    except UserError as error:
        report = _Failure(failed=str(error), user=True)
    out.write(report.model_dump_json())
    out.flush()
    return 0


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def described(error: Exception) -> str:
    """Return an error of a library as a clause, without line breaks and of bounded length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
