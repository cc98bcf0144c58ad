"""The app of `tests.support.work` in a worker whose clock is wrong by TESTS_CLOCK_SHIFT seconds.

The clock is right while the worker starts, since a wrong one is refused then, and shifted once it is ready.
"""

from __future__ import annotations

import logging
import os
import time

from celery import signals
from kombu.transport import redis as transport

from tests.support.work import app

__all__ = ["app"]

_true_time = time.time
_shift = float(os.environ["TESTS_CLOCK_SHIFT"])


def _shifted() -> float:
    return _true_time() + _shift


@signals.worker_ready.connect
def _shift_clock(**_: object) -> None:
    # kombu holds a name of its own, and scores what it delivers with it.
    time.time = transport.time = _shifted
    logging.getLogger(__name__).warning("the clock is shifted by %+.0f s", _shift)


@signals.worker_process_init.connect
def _shift_clock_of_pool(**_: object) -> None:
    time.time = _shifted
