"""Retry steps that may fail, and report each failure once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

Report = Callable[[str], None]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class Steps:
    """Retries steps that may fail: each failure is reported once, and the next try waits ever longer."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._failing: dict[str, str] = {}
        self._pause: dict[str, float] = {}
        self._not_before: dict[str, float] = {}

    def attempt(self, name: str, step: Callable[[], object]) -> bool:
        """Do `step`, unless it failed a moment ago; return whether it was done."""
        now = time.monotonic()
        if now < self._not_before.get(name, 0.0):
            return False
        try:
            step()
        except Exception as error:
            message = _in_words(error)
            if self._failing.get(name) != message:
                self._report(f"{name}: {message}; trying again")
            self._failing[name] = message
            self._pause[name] = min(_LONGEST_PAUSE, 2 * self._pause.get(name, _FIRST_PAUSE / 2))
            self._not_before[name] = time.monotonic() + self._pause[name]
            return False
        self._failing.pop(name, None)
        self._pause.pop(name, None)
        self._not_before.pop(name, None)
        return True


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def undisturbed(report: Report) -> Report:
    """Return a report that never raises: on a full disk or without a terminal the work goes on all the same."""

    def safely(message: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            report(message)

    return safely
