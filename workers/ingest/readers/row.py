"""A row of a file: its place, and its value or why it can't be read."""

from __future__ import annotations

from typing import Literal, NamedTuple

from workers.ingest.readers.errors import RowError

Unit = Literal["line", "item", "row"]


class Row(NamedTuple):
    """One row of a file.

    Attributes:
        number: of the line on which it begins; of the item, for the elements of an array; of the row in a Parquet file. From 1.
        value: a JSON document, or the cells of a table by the names of its columns. It means nothing where the row is refused.
        refused: why the row can't be read.
        unit: what `number` counts.
        item: the row's place among several that begin on one line, from 1; None for one that has its line alone.
        is_table: the value is a row of a table, whose cells are all text.
    """

    number: int
    value: object = None
    refused: RowError | None = None
    unit: Unit = "line"
    item: int | None = None
    is_table: bool = False

    @property
    def place(self) -> str:
        """Where it stands."""
        return place(self.number, self.unit, self.item)


def place(number: int, unit: Unit, item: int | None) -> str:
    """Return where a row stands: `line 7`, `item 7` of an array, `line 7 item 2` of several on one line."""
    return f"{unit} {number}" + (f" item {item}" if item is not None else "")


def key(number: int, unit: Unit, item: int | None) -> str:
    """Return the key of a rejected row: as `place`, but a line is its number alone."""
    return place(number, unit, item).removeprefix("line ")
