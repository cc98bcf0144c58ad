"""Reading tables: one in which a quote is left open on every line, against a plain one of as many lines."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.measure import Comparison, Way, compare
from producers.sources import read

LINES, QUICK_LINES = 40_000, 400
ROW, OPEN = "1,the bus is late again\n", 'the bus","is late again\n'


def run(*, quick: bool) -> Comparison:
    """Read both, and a table of open quotes that has half the lines, which shows whether the time grows with the lines alone."""
    lines = QUICK_LINES if quick else LINES
    with tempfile.TemporaryDirectory() as folder:
        plain, quotes, half = (Path(folder) / f"{name}.csv" for name in ("plain", "quotes", "half"))
        for path, row, count in ((plain, ROW, lines), (quotes, OPEN, lines), (half, OPEN, lines // 2)):
            path.write_text("id,text\n" + row * count, encoding="utf-8")
        return compare(
            Way("a plain table", lambda: _read(plain)),
            [
                Way("with an open quote on every line", lambda: _read(quotes)),
                Way("two of half the lines", lambda: _read(half) + _read(half)),
            ],
            unit="rows",
        )


def _read(path: Path) -> int:
    return sum(1 for _ in read(path))
