"""What every verb prints.

Messages for people go to standard error; a result goes to standard output, as text or, with `--json`, as JSON and nothing else.
Text is never markup here: a string is shown as it stands, made showable, and what has a style says so with `styled`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from producers.render import streams
from workers.showable import showable, showable_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

T = TypeVar("T")

# The panels of the help page.
STACK, DATA, MODELS, SUMMARIES, JOBS = "Stack", "Data", "Models", "Summaries", "Jobs"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]

_COMMAND = r"`tweetmill [^`]*`"


def console() -> Console:
    """Return the console of messages for people: standard error."""
    from producers.render.screen import Screen

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


def titled_table(title: str) -> Table:
    """Return an empty table of figures below its title: without lines but that under its heads."""
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


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
    from producers.render.screen import Screen

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
