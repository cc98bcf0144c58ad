"""Reads tweets: JSON Lines, X API pages, dumps of many tools, tables, plain or packed, from a file or standard input.

`read` yields the tweets of a file with one line in memory at a time; `registry` has the kinds of sources.
"""

from __future__ import annotations

from producers.sources.files import read
from producers.sources.lines import Line, RejectedTweet, SourceError

__all__ = ["Line", "RejectedTweet", "SourceError", "read"]
