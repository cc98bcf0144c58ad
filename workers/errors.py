"""Define the errors of tweetmill. The docstring is the message where none is given.

TweetmillError
├── UserError             the caller's input: never retried, exit code 2 or 1
│   ├── NotFound          a job, model, dataset or file that is not there
│   └── SettingsError     a setting that is missing or wrong
├── NotReady              a server or this machine is not as a worker needs it: somebody must change that first
├── Unavailable           Postgres or Redis does not answer: try again
│   └── Busy              what the job needs is in use: try again, ever later
└── LeaseLost             another attempt holds the job: stop at once, write nothing
"""

from __future__ import annotations

import sys
from types import TracebackType


class TweetmillError(Exception):
    """Something went wrong in tweetmill."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class UserError(TweetmillError):
    """The input can't be used as it is."""


class NotFound(UserError):
    """There is no such thing."""


class SettingsError(UserError):
    """A setting is missing or wrong."""


class NotReady(TweetmillError):
    """A worker can't start as things are."""


class Unavailable(TweetmillError):
    """A server does not answer. Is the stack up? `tweetmill status` tells."""


class Busy(Unavailable):
    """What this needs is in use."""


class LeaseLost(TweetmillError):
    """Another attempt holds this job now, so this one stops and writes nothing."""


def report_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the error that ends the process: one of ours in a line, another with its traceback; for `sys.excepthook`."""
    from workers.redaction import show_traceback

    if isinstance(error, TweetmillError):
        sys.stderr.write(f"tweetmill: {error}\n")
    else:
        show_traceback(kind, error, trace)
