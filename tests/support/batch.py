"""A producer that may be killed: it enqueues jobs under stable keys, some at a time, and says how much memory it took.

    python -m tests.support.batch 10000

Given again, it goes on where it was killed, because equal keys are one job.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tasks.enqueue import publish_now
from tests.support.work import KIND, QUEUE, Work
from workers.database import transaction
from workers.jobs import ledger

AT_ONCE = 500


def main() -> None:
    """Enqueue as many jobs as the first argument says."""
    asked = int(sys.argv[1])
    for first in range(0, asked, AT_ONCE):
        jobs = [
            ledger.NewJob(kind=KIND, queue=QUEUE.value, payload=Work(), idempotency_key=f"batch-{number}")
            for number in range(first, min(first + AT_ONCE, asked))
        ]
        with transaction() as connection:
            ledger.insert(connection, jobs)
        publish_now(QUEUE)
    print(_peak_mib())  # noqa: T201


def _peak_mib() -> int:
    """The most memory that this process ever held. `getrusage` would count the process that started it, too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    main()
