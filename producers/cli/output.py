"""What every verb says and how it ends.

Messages for people go to standard error; a result goes to standard output, as text or, with `--json`, as JSON and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from workers.redaction import first_line, redact

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

T = TypeVar("T")

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130

# The panels of the help page.
STACK, DATA, MODELS, SUMMARIES, JOBS = "Stack", "Data", "Models", "Summaries", "Jobs"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]

# What the clients of the servers raise when no answer comes: by package, since importing them here would cost every verb.
_NO_ANSWER: dict[str, dict[str, tuple[str, ...]]] = {
    "Postgres": dict.fromkeys(("sqlalchemy", "psycopg"), ("OperationalError", "InterfaceError", "PoolTimeout", "TimeoutError")),
    "Redis": {"redis": ("ConnectionError", "TimeoutError", "BusyLoadingError"), "kombu": ("OperationalError",)},
}

debug = False


def console() -> Console:
    """Where messages for people go: standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Tell the person one thing. Rich markup works; escape what others wrote with `rich.markup.escape`."""
    console().print(message)


def emit(data: T, as_json: bool, render: Callable[[T], RenderableType]) -> None:
    """Print a verb's result.

    Args:
        data: JSON-like values, pydantic models, dataclasses, enums, paths, times and UUIDs, nested as you like.
        as_json: print `data` as JSON instead of `render(data)`.
        render: makes the text or table for people.
    """
    if as_json:
        sys.stdout.write(json.dumps(data, default=_plain, ensure_ascii=False, indent=2) + "\n")
        return
    from rich.console import Console

    shown = render(data)
    Console(highlight=False).print(shown, soft_wrap=isinstance(shown, str))


def example(*lines: str) -> str:
    """The epilog of a verb's help: commands that work when pasted."""
    return "[bold]Example[/bold]\n\n" + "\n\n".join(f"[cyan]{line}[/cyan]" for line in lines)


def exit_code_of(command: Callable[[], object]) -> int:
    """Run a command and turn what it raises into an exit code, with one line that says what to do next.

    Raises:
        Exception: what the command raised, when `--debug` was given.
    """
    try:
        command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else (DONE if ended.code is None else FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        code, message = explain(error)
        _complain(message)
        return code
    return DONE


def explain(error: Exception) -> tuple[int, str]:
    """The exit code and the line that `error` deserves."""
    # Only a failure pays for these imports; an exception of theirs implies that they are loaded.
    if "workers.errors" in sys.modules:
        from workers.errors import SettingsError, TweetmillError

        if isinstance(error, TweetmillError):
            return (BAD_USAGE if isinstance(error, SettingsError) else FAILED), redact(str(error))
    if isinstance(error, FileNotFoundError):
        return BAD_USAGE, f"{error.filename}: no such file"
    if isinstance(error, OSError) and error.filename is not None:
        return FAILED, f"{error.filename}: {error.strerror}"
    server = _server_of(type(error).__module__.partition(".")[0], type(error).__name__)
    if server is not None:
        return FAILED, f"{server} does not answer ({type(error).__name__}). Is the stack up? `tweetmill status` tells"
    return FAILED, f"{type(error).__name__}: {first_line(error)}. `tweetmill --debug …` shows where"


def _server_of(package: str, name: str) -> str | None:
    return next((server for server, errors in _NO_ANSWER.items() if name in errors.get(package, ())), None)


def _complain(message: str) -> None:
    from rich.text import Text

    console().print(Text("Error: ", style="bold red") + Text(message, style="red"))


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
