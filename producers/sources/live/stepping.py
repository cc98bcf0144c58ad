"""Runs an asynchronous stream of events for a caller that is not asynchronous, and returns to it where nothing comes.

There is no thread: the stream goes on while its next event is asked for, so a caller that is busy reads nothing, and the network's own
flow control tells the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress

from workers.ingest.live import Event

_MOST_READ_AHEAD = 256
"""Events that are taken from the stream at once, if they are there."""

Events = AsyncGenerator[Event, None]


def stepped(stream: Events, idle_seconds: float) -> Iterator[Event | None]:
    """Yield the events of a stream, and None where nothing comes for `idle_seconds`. Closing this iterator closes the stream.

    Raises:
        Exception: whatever the stream raises, behind the events that came before.
    """
    with asyncio.Runner() as runner:
        ahead = _ReadAhead(stream)
        try:
            while True:
                events = runner.run(ahead.take(idle_seconds))
                if events is None:
                    return
                yield from events or (None,)
        finally:
            runner.run(ahead.close())


class _ReadAhead:
    """A task that fills a bounded list of events."""

    def __init__(self, stream: Events) -> None:
        self._stream = stream
        self._events: list[Event] = []
        self._something, self._room = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def take(self, seconds: float) -> list[Event] | None:
        """Return the events that are there, none if none came in these seconds, None at the end of the stream."""
        if self._task is None:
            self._task = asyncio.create_task(self._fill())
        if not self._events and not self._task.done():
            self._something.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._something.wait()
        taken, self._events = self._events, []
        self._room.set()
        if not taken and self._task.done():
            self._task.result()
            return None
        return taken

    async def _fill(self) -> None:
        try:
            async for event in self._stream:
                self._events.append(event)
                self._something.set()
                while len(self._events) >= _MOST_READ_AHEAD:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._something.set()

    async def close(self) -> None:
        """End the stream, whatever it waits for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._stream.aclose()
