"""Calls Postgres from a thread, so that the page is never held up, and again while Postgres is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from workers.errors import Unavailable

T = TypeVar("T")

_TRY_AGAIN = 2.0  # seconds


class Retrying:
    """Calls a function until Postgres answers; calls `on_unavailable` once for each that has to wait."""

    def __init__(self, on_unavailable: Callable[[], None]) -> None:
        self._on_unavailable = on_unavailable

    async def __call__(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what the function returns."""
        reported = False
        while True:
            try:
                return await asyncio.to_thread(function, *arguments)
            except Unavailable:
                if not reported:
                    self._on_unavailable()
                reported = True
                await asyncio.sleep(_TRY_AGAIN)
