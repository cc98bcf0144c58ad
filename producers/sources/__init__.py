"""Tweets as they arrive: JSON Lines, X API pages, archives of the older API, CSV, plain or gzipped, from a file or standard input.

`read` streams: one line in memory at a time, whatever the size of the file.
"""

from __future__ import annotations

from producers.sources.forms import Line, Rejected, SourceError
from producers.sources.reading import read

__all__ = ["Line", "Rejected", "SourceError", "read"]
