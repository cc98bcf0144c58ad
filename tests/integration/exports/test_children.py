"""Specifies how an export asks its child processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.slow_child import Said
from workers.exports import children
from workers.jobs.context import Context


def test_a_request_of_any_size_reaches_a_child_that_reads_it_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_LOOK_EVERY", 0.05)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    asked = Said(text="the late bus " * 100_000)  # more than a pipe holds
    assert children.run(cast("Context", SimpleNamespace(check=lambda: None)), "tests.support.slow_child", asked, Said) == asked
