"""A TCP proxy whose line can fail: the network between a worker and a server, for tests that break it.

    with Proxy(Path("valkey.sock")) as line:
        worker = start(CELERY_BROKER_URL=f"redis://127.0.0.1:{line.port}/0")
        line.lose()

It stands before a TCP address or a Unix socket, and passes on what it does not understand.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self

_CHUNK = 65_536


class _Link:
    """One connection through the proxy."""

    def __init__(self) -> None:
        self.alive = asyncio.Event()
        self.alive.set()
        self.task: asyncio.Task[None] | None = None


class Proxy:
    """Listens on a port of 127.0.0.1 and forwards to `target`: a Unix socket, or host and port. Its methods block until they are done.

    `change` is applied to each chunk of the server's answers.
    """

    def __init__(self, target: Path | tuple[str, int], change: Callable[[bytes], bytes] = bytes) -> None:
        self.port = 0
        self._target = target
        self._change = change
        self._latency = 0.0
        self._flows = asyncio.Event()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.forward()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def forward(self) -> None:
        """All is well again. What was held back is delivered now; a lost connection stays lost."""
        self._do(self._open(0.0))

    def delay(self, seconds: float) -> None:
        """Every answer comes this much later: half on the way there, half on the way back."""
        self._do(self._open(seconds))

    def hold(self) -> None:
        """Nothing passes, in either direction, and nobody is told: connections stay open, and new ones are accepted."""
        self._do(self._hold())

    def lose(self) -> None:
        """The connections that are open now never pass a byte again, nor are they closed. New ones are well."""
        self._do(self._lose())

    def cut(self) -> None:
        """Close the connections that are open now. New ones are well."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Close what is open, and let nobody in."""
        self._do(self._refuse())

    @property
    def connections(self) -> int:
        """How many are open, lost ones among them."""
        return len(self._links)

    def _do(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(timeout=10)

    async def _open(self, latency: float) -> None:
        self._latency = latency
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _hold(self) -> None:
        self._flows.clear()

    async def _lose(self) -> None:
        for link in self._links:
            link.alive.clear()

    async def _cut(self) -> None:
        tasks = [link.task for link in self._links if link.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link()
        link.task = asyncio.current_task()
        self._links.add(link)
        writers = [writer]
        try:
            server_reader, server_writer = await self._reach_target()
            writers.append(server_writer)
            await asyncio.gather(self._pump(link, reader, server_writer), self._pump(link, server_reader, writer, self._change))
        except (OSError, asyncio.CancelledError):
            pass  # whoever waits at the other end sees its connection close, and that is all there is to say
        finally:
            for end in writers:
                end.transport.abort()
            self._links.discard(link)

    async def _reach_target(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes] = bytes
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            await asyncio.sleep(self._latency / 2)
            await self._pass(link)
            writer.write(change(chunk))
            await writer.drain()
        await self._pass(link)  # the end of a connection is news as well, and held back like any other
        writer.close()

    async def _pass(self, link: _Link) -> None:
        await self._flows.wait()
        await link.alive.wait()
