"""A signal that ends an `up` is not lost, whoever catches the error that it raises."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from deploy.local.signals import ended_by_signals
from workers.errors import Unavailable


def a_start_whose_library_catches_everything() -> None:
    with ended_by_signals() as check:
        with contextlib.suppress(Exception):
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the signal raised nothing")
        check()


def test_what_a_library_caught_is_raised_once_more() -> None:
    with pytest.raises(Unavailable, match="ended by SIGTERM"):
        a_start_whose_library_catches_everything()


def test_without_a_signal_there_is_nothing_to_raise() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ended_by_signals() as check:
        check()
    assert signal.getsignal(signal.SIGTERM) is before
