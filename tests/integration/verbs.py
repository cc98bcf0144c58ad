"""What a verb of the command line says, run in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from producers.cli import main


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a verb that succeeds prints."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """The JSON that a verb prints; `--json` is among the arguments where the verb needs it."""
    return json.loads(printed(capsys, *arguments))


def complaint(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """What a verb that ends with `code` says on standard error, in one line and without the box around it."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    return " ".join(capsys.readouterr().err.replace("│", " ").split())
