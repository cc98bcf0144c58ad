"""The exit codes of the command line, and the one line that an error gets."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

from producers.render import streams
from producers.render.output import console, styled
from workers.redaction import first_line, redact

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130

debug = False
"""Whether an error is raised with its traceback instead of being printed in one line: `--debug`."""

# The clients of the servers, and what they raise when no answer comes, by name: importing them here would cost every verb.
_CLIENTS = {"Postgres": ("sqlalchemy", "psycopg"), "Redis": ("redis", "kombu")}
_NO_ANSWER = ("OperationalError", "InterfaceError", "PoolTimeout", "TimeoutError", "ConnectionError", "BusyLoadingError")

_LONGEST = 300  # characters of a foreign message
_DEBUG = "`tweetmill --debug …` shows where"


class UsageError(Exception):
    """An argument is not usable."""


def is_text(given: str) -> bool:
    """Return whether a string can be encoded in UTF-8, as every server and file needs it."""
    return not any("\ud800" <= character <= "\udfff" for character in given)


def exit_code_of(command: Callable[[], object]) -> int:
    """Run a command and turn what it raises into an exit code, with one line that says what to do next.

    Raises:
        Exception: what the command raised, when `--debug` was given.
    """
    try:
        code = _code_of(command)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        streams.reader_left(sys.stdout)
        return DONE
    except Exception as error:
        if debug:
            raise
        code, message = explain(error)
        _complain(message)
    return code


def _code_of(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else (DONE if ended.code is None else FAILED)
    return DONE


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code and the one-line message of an error."""
    # Only a failure pays for these imports; an exception of theirs implies that they are loaded.
    if "workers.errors" in sys.modules:
        from workers.errors import SettingsError, TweetmillError

        if isinstance(error, TweetmillError):
            return (BAD_USAGE if isinstance(error, SettingsError) else FAILED), redact(str(error))
    if type(error).__module__.startswith("pydantic") and hasattr(error, "errors"):
        return BAD_USAGE, _wrong_fields(error)
    if isinstance(error, UsageError):
        return BAD_USAGE, str(error)
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return BAD_USAGE, f"{error.filename}: no such file"
    if isinstance(error, OSError) and error.filename is not None:
        return FAILED, f"{error.filename}: {error.strerror}"
    server = _server_of(type(error).__module__.partition(".")[0])
    if server is not None:
        from workers.connections import server_errors

        reason = server_errors.of_redis(error) if server == "Redis" else server_errors.of_postgres(error)
        if reason.is_known or type(error).__name__ in _NO_ANSWER:
            return FAILED, reason.sentence_of(server)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF):
        streams.reader_left(sys.stdout)
        return FAILED, f"{error.strerror}: what standard output leads to, or a disk of this machine, takes no more"
    return FAILED, f"{type(error).__name__}: {first_line(error)[:_LONGEST]}. {_details_of(error)}"


def _details_of(error: Exception) -> str:
    """Write the traceback of an unexpected error to the home, without its message, and return where it is."""
    import traceback

    try:
        from workers import destinations
        from workers.settings import get_settings

        kept = get_settings().home / "last-error.txt"
        if not kept.parent.is_dir():
            return _DEBUG
        frames = "".join(traceback.format_tb(error.__traceback__))
        with destinations.open_text(kept) as out:
            os.chmod(out.fileno(), 0o600)  # noqa: PTH101 - the file has no name yet
            out.write(f"{type(error).__module__}.{type(error).__name__}\n{frames}")
    except Exception:
        return _DEBUG
    return f"The calls that led there are in {kept}"


def _server_of(package: str) -> str | None:
    return next((server for server, clients in _CLIENTS.items() if package in clients), None)


def _wrong_fields(error: Any) -> str:
    wrong = error.errors(include_url=False, include_input=False, include_context=False)
    fields = (f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in wrong)
    return redact("; ".join(fields))


def _complain(message: str) -> None:
    console().print(styled("Error: ", "bold red") + styled(message, "red"))
