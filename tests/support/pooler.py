"""Listen in front of Postgres and treat start-up options as poolers do: refuse them, swallow them, or refuse every session."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.relay import listening, pump

REFUSES, SWALLOWS, REFUSES_ALL = "refuses", "swallows", "refuses all"

_ASKS_FOR_ENCRYPTION = (80877103, 80877104)


def _refusal(parameter: str) -> bytes:
    fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: " + parameter.encode() + b"\0\0"
    return b"E" + struct.pack("!I", len(fields) + 4) + fields


@contextmanager
def pooler(socket: Path, manner: str) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """Listen in front of a Unix socket; yields the port on 127.0.0.1, and what each session asked for when it began."""
    sessions: list[dict[str, str]] = []

    async def opened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                body = await reader.readexactly(struct.unpack("!I", await reader.readexactly(4))[0] - 4)
                if struct.unpack("!I", body[:4])[0] not in _ASKS_FOR_ENCRYPTION:
                    break
                writer.write(b"N")
            words = body[4:].decode().split("\0")
            asked = {name: value for name, value in zip(words[::2], words[1::2], strict=False) if name}
            sessions.append(asked)
            if manner == REFUSES_ALL or (manner == REFUSES and "options" in asked):
                writer.write(_refusal("options"))
                writer.close()
                return
            kept = [part for name, value in asked.items() if name != "options" for part in (name, value)]
            start = body[:4] + "".join(f"{part}\0" for part in kept).encode() + b"\0"
            inside_reader, inside_writer = await asyncio.open_unix_connection(str(socket))
            inside_writer.write(struct.pack("!I", len(start) + 4) + start)
            await asyncio.gather(pump(reader, inside_writer), pump(inside_reader, writer))

    with listening(opened) as port:
        yield port, sessions
