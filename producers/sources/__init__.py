"""Tweets as they arrive: JSON Lines, X API pages, dumps of many tools, tables, plain or packed, from a file or standard input.

`read` streams: one line in memory at a time, whatever the size of the file.
"""

from __future__ import annotations

from producers.sources.files import read
from producers.sources.lines import Line, Rejected, SourceError

__all__ = ["Line", "Rejected", "SourceError", "read"]
