"""Numbers on the command line: each has bounds, and what lies outside is bad usage."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from producers.cli import app, main

POSTGRES_HOLDS = 2**63 - 1


def verbs(of: typer.Typer = app, prefix: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    for verb in of.registered_commands:
        assert verb.callback is not None
        yield f"{prefix}{verb.name or verb.callback.__name__}", verb.callback
    for group in of.registered_groups:
        assert group.typer_instance is not None
        yield from verbs(group.typer_instance, f"{prefix}{group.name} ")


def numbers() -> Iterator[tuple[str, str, Any]]:
    for verb, callback in verbs():
        for name, hint in typing.get_type_hints(callback, include_extras=True).items():
            kinds = {hint, *typing.get_args(hint)} | {inner for each in typing.get_args(hint) for inner in typing.get_args(each)}
            if int in kinds or float in kinds:
                yield verb, name, next(each for each in typing.get_args(hint) if hasattr(each, "param_decls"))


def test_every_number_has_both_bounds():
    found = list(numbers())
    assert len(found) > 10
    assert [(verb, name) for verb, name, option in found if option.min is None or option.max is None or option.max > POSTGRES_HOLDS] == []


@pytest.mark.parametrize("given", ["0", "-1", str(10**30), "1e3", "1.5", "0x10", "", "inf", "NaN", "1" * 5000, "one"])
@pytest.mark.parametrize("verb", [["jobs", "-n"], ["rejected", "-n"], ["summaries", "-n"], ["summarize", "-m", "x", "-n"]])
def test_a_limit_that_is_none_is_bad_usage(verb, given, capsys):
    assert main([*verb, given]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.out == ""


@pytest.mark.parametrize("given", ["-1", str(2**63), "1e3", "seed"])
def test_a_seed_that_is_none_is_bad_usage(given, capsys):
    for verb in (["noise", "fit"], ["noise", "gauge"], ["summarize", "-m", "x"]):
        assert main([*verb, "--seed", given]) == 2
        assert "seed" in capsys.readouterr().err
