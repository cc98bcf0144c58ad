"""Check that the worker of this container lives: it says so in the database every two seconds.

Asking Celery would load the whole application at every check; this is one query.
"""

from __future__ import annotations

import socket
import sys

from deploy.health import live_workers
from workers.errors import report_uncaught
from workers.settings import get_settings


def main() -> int:
    """Return 0 when a worker of this host was seen within half a minute, else 1."""
    sys.excepthook = report_uncaught  # what is said here, Docker shows
    host = socket.gethostname()
    return 0 if any(worker["name"].endswith(f"@{host}") for worker in live_workers(get_settings())) else 1


if __name__ == "__main__":
    sys.exit(main())
