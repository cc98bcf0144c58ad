"""The history of a storm: one JSON object a line, appended by every process of the harness and never changed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class History:
    """Appends events. Several processes may write to one file: a line is one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with its time: `t` is monotonic and the same in all processes, `wall` compares with Postgres's."""
        line = json.dumps({"t": round(time.monotonic(), 3), "wall": round(time.time(), 3), "event": event, **fields}, default=str)
        os.write(self._file, line.encode() + b"\n")


def read(path: Path) -> list[Event]:
    """All events of a file, in the order they were written. Half a line at the end, of a writer that was killed, is left out."""
    return list(_lines(path)) if path.exists() else []


def _lines(path: Path) -> Iterator[Event]:
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue
