"""Reads measured points of a learning curve: a table or JSON Lines with the columns `size`, `value` and, if wanted, `se`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.curves.points import Point
from workers.ingest.curated_files import BadLine
from workers.ingest.readers import rows
from workers.ingest.readers.csv_tables import column_of, columns_shown
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.row import Row
from workers.ingest.readers.rows import Reading

_NEEDED = ("size", "value")
LARGEST_SIZE = 1e20
"""Sizes above it, or below its inverse, are those of no training set; a fit raises them to powers, which would not be finite."""

_LARGEST = 1e60  # of other numbers, and their inverses: a fit takes squares, of which the same holds


def read(path: Path) -> Iterator[Point | BadLine]:
    """Yield every row of a file, or of standard input for `-`: a point, or a row that is none, with its place, field and reason.

    Raises:
        SourceError: the file can't be read as a whole.
    """
    reading = Reading(_check, unknown="give CSV whose first line is size,value or size,value,se")
    for row in rows.read(path, reading):
        try:
            yield _point(row)
        except RowError as refused:
            yield BadLine.of(row, refused)


def _check(names: Sequence[str], number: int) -> None:
    for column in _NEEDED:
        if column_of(column, names, number) is None:
            raise SourceError(f"its first line names no column {column}, but {columns_shown(names)}: it needs size,value or size,value,se")


def _point(row: Row) -> Point:
    if row.refused is not None:
        raise row.refused
    if not isinstance(row.value, dict):
        raise RowError(None, f"the {row.unit} is JSON but no object")
    cells = {str(name).strip().casefold(): value for name, value in row.value.items()}
    size, value = (_number(cells, name) for name in _NEEDED)
    error = None if _is_blank(cells.get("se")) else _number(cells, "se")
    try:
        return Point(size, value, error)
    except ValueError as refused:
        field, _, _ = str(refused).partition(" ")
        raise RowError(field, str(refused)) from None


def _number(cells: Mapping[str, Any], name: str) -> float:
    cell: Any = cells.get(name)
    if _is_blank(cell):
        raise RowError(name, f"{name} is missing")
    try:
        number = float(cell) if not isinstance(cell, bool) else math.nan
    except (TypeError, ValueError, OverflowError):  # the last: of a whole number in JSON, which has no bound
        number = math.nan
    if not math.isfinite(number):
        raise RowError(name, f"{name} is no finite number with a decimal point")
    most = LARGEST_SIZE if name == "size" else _LARGEST
    if abs(number) > most:
        raise RowError(name, f"{name} is farther from 0 than {most:g}, which no measurement is")
    if 0 < abs(number) < 1 / most:
        raise RowError(name, f"{name} is nearer to 0 than {1 / most:g}, which no measurement tells from it")
    return number


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())
