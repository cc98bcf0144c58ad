"""Ask Postgres for the page of a review without holding it up: from a thread and, while it is away, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from workers.errors import Unavailable

T = TypeVar("T")

_TRY_AGAIN = 2.0


class Patience:
    """Waits for as long as Postgres is away; says so once a question, with `tell`."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    async def __call__(self, question: Callable[..., T], *arguments: Any) -> T:
        """The answer to a question."""
        told = False
        while True:
            try:
                return await asyncio.to_thread(question, *arguments)
            except Unavailable:
                if not told:
                    self._tell()
                told = True
                await asyncio.sleep(_TRY_AGAIN)
