"""What every verb says and how it ends.

Messages for people go to standard error; a result goes to standard output, as text or, with `--json`, as JSON and nothing else.
Text is never markup here: a string is shown as it stands, made showable, and what has a style says so with `styled`.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from producers.cli.render import streams
from workers.redaction import first_line, redact
from workers.showable import showable, showable_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

T = TypeVar("T")

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130

# The panels of the help page.
STACK, DATA, MODELS, SUMMARIES, JOBS = "Stack", "Data", "Models", "Summaries", "Jobs"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]

# The clients of the servers, and what they raise when no answer comes, by name: importing them here would cost every verb.
_CLIENTS = {"Postgres": ("sqlalchemy", "psycopg"), "Redis": ("redis", "kombu")}
_NO_ANSWER = ("OperationalError", "InterfaceError", "PoolTimeout", "TimeoutError", "ConnectionError", "BusyLoadingError")

debug = False

_LONGEST = 300  # characters of a foreign message
_DEBUG = "`tweetmill --debug …` shows where"
_COMMAND = r"`tweetmill [^`]*`"


def console() -> Console:
    """Return the console of messages for people: standard error."""
    from producers.cli.render.screen import Screen

    return Screen(stderr=True, soft_wrap=True)


def say(message: str, style: str = "") -> None:
    """Print one message to standard error. A `tweetmill` command in backticks stands out; nothing else in it is markup."""
    console().print(_message(message, style))


def styled(text: str, style: str = "") -> Text:
    """Return a text in a style of Rich's, escaped so that a terminal shows it and does not obey it."""
    from rich.text import Text

    return Text(showable(text), style=style)


def line(text: str) -> str:
    """Return the text in one line, for a place that holds one."""
    return showable(text, one_line=True)


def _message(message: str, style: str = "") -> Text:
    text = styled(message, style)
    text.highlight_regex(_COMMAND, "bold")
    return text


def emit(data: T, as_json: bool, render: Callable[[T], RenderableType]) -> None:
    """Print a verb's result.

    Args:
        data: JSON-like values, pydantic models, dataclasses, enums, paths, times and UUIDs, nested as you like.
        as_json: print `data` as JSON instead of `render(data)`.
        render: makes the text or table for people.
    """
    if as_json:
        streams.write(json_text(data, indent=2) + "\n", and_go_on=True)
        return
    from producers.cli.render.screen import Screen

    shown = render(data)
    screen = Screen()
    screen.make_room(getattr(shown, "natural_width", 0))
    text = isinstance(shown, str) or type(shown).__name__ == "Text"
    screen.print(_message(shown) if isinstance(shown, str) else shown, soft_wrap=text)


def json_text(data: object, indent: int | None = None) -> str:
    """Return JSON that a terminal shows and does not obey, and that any program reads as the same values."""
    document = json.dumps(data, default=_plain, ensure_ascii=not streams.speaks_unicode(), indent=indent)
    return showable_json(document)


def brief(value: Any) -> str:
    """Return a value of a recipe or a result in few words; of a nested one the parts that are set. `--json` has all of it."""
    if isinstance(value, dict):
        return " · ".join(f"{key} {brief(inner)}" for key, inner in value.items() if inner) or "nothing"
    if isinstance(value, list):
        return ", ".join(map(brief, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def example(*lines: str) -> str:
    """Return the epilog of a verb's help: commands that work when pasted."""
    return "[bold]Example[/bold]\n\n" + "\n\n".join(f"[cyan]{line}[/cyan]" for line in lines)


class UsageError(Exception):
    """What was typed can't be used."""


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
        from workers import server_errors

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


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
