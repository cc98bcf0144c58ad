"""Reads Parquet files by pyarrow, which is installed with the extra `parquet`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any, BinaryIO

from workers.ingest.readers.errors import SourceError
from workers.ingest.readers.row import Row

_BATCH = 1_000  # rows


def rows(stream: BinaryIO) -> Iterator[Row]:
    """Yield every row, as the JSON object that says the same.

    Raises:
        SourceError: pyarrow is not installed, the file comes through a pipe or an archive, or it is damaged.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet as pq
    except ImportError:
        raise SourceError("it is a Parquet file: pip install 'tweetmill[parquet]' lets it be read, or write it as CSV") from None
    if not stream.seekable():
        raise SourceError("it is a Parquet file, which is read from its end: give the file itself, not a pipe and not an archive")
    number = 0
    try:
        with pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield Row(number, _plain(row), unit="row")
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SourceError(f"the Parquet file is damaged or of a kind that can't be read, after row {number}") from error


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; NaN is none, what JSON has no type for is text, bytes are their text."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
