"""One rank: `python -m workers.training.rank.main PAYLOAD`, started by torchrun. It never touches Redis or Postgres.

This file runs before anything heavy is imported: a rank that outlives its launcher holds a GPU for ever, so its first act is to tie
its life to its parent's.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path

from workers.errors import Unavailable, UserError
from workers.gpus import gpu_locks
from workers.memory import is_out_of_memory
from workers.processes import die_with_parent, parent_of
from workers.settings import ENVIRONMENT
from workers.training.protocol.outcome import EXIT_CODES, SUPERVISOR_PID, Failure, FailureKind, Preempted, record_failure
from workers.training.protocol.payload import RunPayload

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _tie_to_parent() -> None:
    die_with_parent()
    supervisor = ENVIRONMENT.get(SUPERVISOR_PID)
    # The parent may have died before the call: then the kernel would never tell.
    if supervisor is not None and parent_of(os.getppid()) != int(supervisor):
        sys.exit("the launcher of this rank is gone")


def main(payload_file: Path) -> int:
    """Train, and say in `failure.json` why when it does not work.

    Returns:
        The exit code.
    """
    run = RunPayload.read(payload_file)
    kind: FailureKind
    try:
        gpu_locks.join(run.locks)
        from workers.training.rank.loop import train

        train(run)
        return 0
    except (Preempted, Unavailable) as error:
        kind, message = "preempted", str(error)
    except UserError as error:
        kind, message = "user", str(error)
    except Exception as error:
        traceback.print_exc()
        kind, message = _diagnosis(error)
    sys.stderr.write(f"{message}\n")
    record_failure(run.run_folder, Failure(kind=kind, message=message))
    return EXIT_CODES[kind]


def _diagnosis(error: Exception) -> tuple[FailureKind, str]:
    if is_out_of_memory(error):
        return "oom", "out of memory: lower per_device_train_batch_size or max_length"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return "disk_full", f"disk full: {error.strerror}. The checkpoints before stay as they are; make room where the runs are kept"
    return "crash", f"a rank failed with {type(error).__name__}: the log has the traceback"


if __name__ == "__main__":
    _tie_to_parent()
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Without interpreter shutdown: after a failure, the process group's destructor would wait for peers that are gone.
    os._exit(code)
