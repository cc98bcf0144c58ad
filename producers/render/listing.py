"""Lists: one line a row at any width. The least important columns are left out first, then long cells are cut; nothing is wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from producers.render.output import line, styled

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table
    from rich.text import Text

_GAP = 2
_FEWEST = 4  # terminal cells of a column, however narrow the terminal is


@dataclass(frozen=True)
class Column:
    """One column of a list. Widths are in terminal cells: a wide character takes two.

    Attributes:
        name: its heading.
        weight: the lowest weight is left out first where there is too little room; columns of weight 0 always stay.
        right: align to the right, as numbers are.
        least: cut cells to the room there is, but not below this width. None: never cut.
        tail: cut the beginning of a cell and keep its end, as for paths.
        in_full: print each text that had to be cut or left out once more, whole, below the list.
        labelled: print it there behind the first cell of its row.
    """

    name: str
    weight: int = 0
    right: bool = False
    least: int | None = None
    tail: bool = False
    in_full: bool = False
    labelled: bool = False


class Listing:
    """Rows under columns, at most as wide as the terminal."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> None:
        from rich.cells import cell_len

        self._columns = columns
        self._rows = [[styled(line(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
        self._widths = [max([cell_len(column.name), *(row[place].cell_len for row in self._rows)]) for place, column in enumerate(columns)]

    @property
    def natural_width(self) -> int:
        """The width at which no cell is cut and no column is left out."""
        return sum(self._widths) + _GAP * len(self._widths)

    def shown(self, room: int) -> list[int]:
        """Return the indices of the columns that fit into `room` cells."""
        places = list(range(len(self._columns)))
        for place in sorted((place for place in places if self._columns[place].weight), key=lambda place: self._columns[place].weight):
            if self._least(places) <= room:
                break
            places.remove(place)
        return places

    def _floor(self, place: int) -> int:
        least = self._columns[place].least
        return self._widths[place] if least is None else min(self._widths[place], least)

    def _least(self, places: Sequence[int]) -> int:
        return sum(map(self._floor, places)) + _GAP * (len(places) - 1)

    def widths(self, places: Sequence[int], room: int) -> dict[int, int]:
        """Share the room that is left among the columns that may be cut: equally, and no column gets more than it needs."""
        widths = {place: self._floor(place) for place in places}
        left = room - self._least(places)
        flexible = sorted(
            (place for place in places if self._columns[place].least is not None), key=lambda at: self._widths[at] - widths[at]
        )
        for number, place in enumerate(flexible):
            gain = min(self._widths[place] - widths[place], left // (len(flexible) - number))
            widths[place] = max(widths[place] + gain, min(self._widths[place], _FEWEST))
            left -= gain
        return widths

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, then the texts that it cut."""
        widths = self.widths(self.shown(options.max_width), options.max_width)
        yield self._table(widths)
        yield from self._cut_texts(widths)

    def _table(self, widths: dict[int, int]) -> Table:
        from rich.table import Table

        table = Table(box=None, header_style="bold", padding=(0, _GAP, 0, 0), pad_edge=False)
        for place, width in widths.items():
            column = self._columns[place]
            table.add_column(column.name, justify="right" if column.right else "left", no_wrap=True, overflow="ellipsis", width=width)
        for row in self._rows:
            table.add_row(*(_end_of(row[place], width) if self._columns[place].tail else row[place] for place, width in widths.items()))
        return table

    def _cut_texts(self, widths: dict[int, int]) -> list[RenderableType]:
        texts = {}
        for place, column in enumerate(self._columns):
            for row in self._rows if column.in_full else ():
                if row[place].cell_len > widths.get(place, 0):
                    text = row[0] + ": " + row[place] if column.labelled else row[place]
                    texts[text.plain] = text
        return ["", *texts.values()] if texts else []


def _end_of(text: Text, width: int) -> Text:
    """Return the end of a text that is too wide, behind an ellipsis."""
    from rich.cells import cell_len

    if text.cell_len <= width:
        return text
    start, left = len(text.plain), width - 1
    while start and (left := left - cell_len(text.plain[start - 1])) >= 0:
        start -= 1
    return styled("…") + text[start:]
