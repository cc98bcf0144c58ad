"""A chat server on loopback that answers after a fixed time whatever its load: `python -m benchmarks.slow_server SECONDS [PORT]`.

It prints its port. `GET /load` tells how many requests were open on average while any was, how many at most, and how many came.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time


class Load:
    """How many requests are open: their integral over the time in which any is."""

    def __init__(self) -> None:
        self.open = self.most = self.total = 0
        self._since = time.perf_counter()
        self._open_seconds = self._busy_seconds = 0.0

    def change(self, by: int) -> None:
        """One more is open, or one less."""
        now = time.perf_counter()
        if self.open:
            self._busy_seconds += now - self._since
            self._open_seconds += self.open * (now - self._since)
        self._since = now
        self.open += by
        self.most = max(self.most, self.open)
        self.total += by > 0

    def told(self) -> dict[str, float]:
        """For whoever asks."""
        self.change(0)
        mean = self._open_seconds / self._busy_seconds if self._busy_seconds else 0.0
        return {"open_mean": round(mean, 1), "open_most": self.most, "requests": self.total, "busy_seconds": self._busy_seconds}


async def serve(seconds: float, port: int = 0) -> None:
    """Serve until the process is ended."""
    loads = [Load()]
    answer = {"message": {"role": "assistant", "content": "The bus was late again."}, "finish_reason": "stop"}
    body = json.dumps({"choices": [answer], "usage": {"prompt_tokens": 30, "completion_tokens": 6}}).encode()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            if head.startswith(b"GET /load"):
                said, loads[0] = json.dumps(loads[0].told()).encode(), Load()
            else:
                await reader.readexactly(_length(head))
                load = loads[0]
                load.change(1)
                await asyncio.sleep(seconds)
                load.change(-1)
                said = body
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The next request's head; nothing where the client has left."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def _length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), *map(int, sys.argv[2:])))
