"""Examples of a dataset and why filters dropped or flagged them, as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from producers.render.output import line, styled

if TYPE_CHECKING:
    from rich.console import RenderableType

_INDENT = 2
_BAR = 24  # terminal cells of the longest bar


def blocks(examples: Iterable[tuple[str, Mapping[str, str]]]) -> RenderableType:
    """Return each example as a heading with its texts below: they get the whole width, so that a narrow terminal shows sentences.

    Args:
        examples: the heading, such as `3f2a9c10 · train · noise`, and the texts by name, such as tweet and target.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table

    parts: list[RenderableType] = []
    for heading, texts in examples:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in texts.items():
            table.add_row(name, styled(text))
        parts += ["", styled(line(heading), "bold"), Padding(table, (0, 0, 0, _INDENT))]
    return Group(*parts)


def reasons_table(reasons: Mapping[str, int], total: int) -> RenderableType:
    """Return a bar for each reason, with what it means. An example may have several, so the shares may add up to more than 100 %."""
    from producers.render.listing import Column, Listing
    from workers.catalog.examples.dropped_examples import meaning

    most = max(reasons.values(), default=1)
    columns = (
        Column("reason"),
        Column("examples", right=True),
        Column("share", right=True),
        Column("", 2),
        Column("meaning", 1, in_full=True, labelled=True),
    )
    rows = [
        (reason, f"{rows:,}", f"{100 * rows / total:.1f} %", "█" * max(1, round(_BAR * rows / most)), meaning(reason))
        for reason, rows in reasons.items()
    ]
    return Listing(columns, rows)


def dropped_sentence(dropped: Mapping[str, int]) -> str:
    """Return the number dropped for each reason, such as ` Dropped: language 3, new_word 12.`; nothing where none was."""
    reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in dropped.items() if rows)
    return f" Dropped: {reasons}." if reasons else ""


def flagged_sentence(flagged: Mapping[str, int], rows: int) -> str:
    """Return how many examples that people wrote the filters flag, for which reasons, such as `3 (negation 2, new_name 1)`."""
    found = ", ".join(f"{reason} {number:,}" for reason, number in flagged.items())
    return f" Kept, since a person wrote them, but flagged: {rows:,} ({found})." if flagged else ""
