"""Lists for people: one line a row, however narrow the terminal is. What matters least leaves first; nothing is wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from producers.cli.render.output import line, styled

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

_GAP = 2
_FEWEST = 4  # characters of a cell, however narrow the terminal is


@dataclass(frozen=True)
class Column:
    """One column of a list.

    Attributes:
        name: its heading.
        weight: what leaves first where there is too little room: the lowest weight; columns of weight 0 always stay.
        right: numbers stand at the right.
        least: cells that are too long are cut to the room that there is, but not below so many characters. None: never cut.
    """

    name: str
    weight: int = 0
    right: bool = False
    least: int | None = None


class Listing:
    """Rows under columns, as wide as the terminal at most."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> None:
        self._columns = columns
        self._rows = [[styled(line(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
        self._widths = [max([len(column.name), *(row[place].cell_len for row in self._rows)]) for place, column in enumerate(columns)]

    @property
    def natural_width(self) -> int:
        """So many cells show every row whole."""
        return sum(self._widths) + _GAP * len(self._widths)

    def shown(self, room: int) -> list[int]:
        """The places of the columns that fit."""
        places = list(range(len(self._columns)))
        for place in sorted((place for place in places if self._columns[place].weight), key=lambda place: self._columns[place].weight):
            if self._least(places) <= room:
                break
            places.remove(place)
        return places

    def _least(self, places: Sequence[int]) -> int:
        widths = (
            self._widths[place] if (least := self._columns[place].least) is None else min(self._widths[place], least) for place in places
        )
        return sum(widths) + _GAP * (len(places) - 1)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        yield self._table(self.shown(options.max_width), options.max_width)

    def _table(self, places: Sequence[int], room: int) -> Table:
        from rich.table import Table

        table = Table(box=None, header_style="bold", padding=(0, _GAP, 0, 0), pad_edge=False)
        left = room - self._least(places)
        for place in places:
            column, width = self._columns[place], self._widths[place]
            if column.least is not None:
                least = min(width, column.least)
                width = min(width, max(least + left, _FEWEST))
                left -= width - least
            table.add_column(column.name, justify="right" if column.right else "left", no_wrap=True, overflow="ellipsis", width=width)
        for row in self._rows:
            table.add_row(*(row[place] for place in places))
        return table
