"""Tweets as they arrive, and the files that people write.

Tweets come as JSON Lines, X API pages, archives of the older API or CSV, plain or gzipped, from a file or standard input. `read`
streams them: one line in memory at a time, whatever the size of the file.
"""

from __future__ import annotations

from producers.sources.forms import Line, Rejected, SourceError
from producers.sources.reading import read
from producers.sources.records import Records, RejectedRow, Sentences, read_pairs, read_references, read_sentences

__all__ = [
    "Line",
    "Records",
    "Rejected",
    "RejectedRow",
    "Sentences",
    "SourceError",
    "read",
    "read_pairs",
    "read_references",
    "read_sentences",
]
