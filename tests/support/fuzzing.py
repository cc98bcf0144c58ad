"""Properties that are tried on many inputs: 200 in the tests, 10,000 in `make faults`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

EXAMPLES = int(os.environ.get("TWEETMILL_FUZZ", "200"))


def fuzz(test: Callable[..., Any]) -> Any:
    """A test by hypothesis that `make faults` runs at length."""
    return pytest.mark.fuzz(settings(max_examples=EXAMPLES)(test))
