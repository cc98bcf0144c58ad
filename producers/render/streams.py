"""The standard streams, whatever state the caller left them in: closed, of a narrow encoding, or with a reader who has left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import typer

STANDARD = "-"
"""The name that stands for standard input or output in place of a file."""


def prepare_streams() -> None:
    """Make the standard streams usable: one that is closed leads nowhere, and no character that an encoding lacks raises."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _fill(number, name)
    for stream in (sys.stdout, sys.stderr):
        _lenient(stream)


def _fill(number: int, name: str) -> None:
    """Open the null device at a closed descriptor, before a file or a connection of ours gets that number and hears what is printed."""
    null = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _lenient(stream: Any) -> None:
    reconfigure = getattr(stream, "reconfigure", None)  # what a test puts in a stream's place may have none
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def speaks_unicode() -> bool:
    """Return whether standard output can encode any character."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")


def write(text: str, *, and_go_on: bool = False) -> None:
    """Write to standard output.

    Args:
        text: what to write.
        and_go_on: when the reader has left, such as `head`, return; else the verb ends there, well.

    Raises:
        Exit: the reader has left.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        reader_left(sys.stdout)
        if not and_go_on:
            raise typer.Exit from None


@contextmanager
def destination(path: Path | None) -> Iterator[TextIO]:
    """A file that is there only when it is whole, or standard output for None and `-`; a reader who leaves it ends the verb, well.

    Raises:
        DestinationError: nothing can be written there.
    """
    if path is not None and str(path) != STANDARD:
        from workers import destinations

        with destinations.open_text(path) as out:
            yield out
        return
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        reader_left(sys.stdout)
        raise typer.Exit from None


def reader_left(stream: TextIO) -> None:
    """Let what is still buffered go nowhere, so that it does not fail again at the exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
