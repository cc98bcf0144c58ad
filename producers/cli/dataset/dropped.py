"""The verb that shows what filters kept out of a dataset: dataset dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.cli.render.output import AsJson, emit, say, styled

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_BAR = 24  # characters of the longest bar


def dropped(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name, also of one whose build failed.")],
    reason: Annotated[str | None, typer.Option(metavar="REASON", help="Only examples dropped for this one.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=100_000, help="Examples to show at most.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show what filters kept out of a dataset: how many examples for which reason, and the examples as they would have been.

    It tells of the newest build under the name, whether it became a dataset or not.
    """
    from workers import database
    from workers.catalog import dropped_examples

    with database.session() as session:
        found = dropped_examples.dropped(session, name, reason, limit)
    emit(found, as_json, _page)
    there = found["reasons"].get(reason, 0) if reason else found["total"]
    if there > len(found["examples"]) and not as_json:
        say(f"{there - len(found['examples']):,} more: --limit {there} shows them.")


def _page(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group

    short = str(found["job"])[:8]
    built = "" if found["state"] == "done" else f" Job {short} is {found['state']}: `tweetmill job {short}` says why."
    if not found["total"]:
        return styled(f"Nothing was dropped from {found['dataset']}.{built}")
    origins = ", ".join(f"{rows:,} of {origin}" for origin, rows in found["origins"].items())
    parts: list[RenderableType] = [
        styled(f"Dropped from {found['dataset']}: {found['total']:,} examples ({origins}).{built}"),
        reasons_table(found["reasons"], found["total"]),
    ]
    if found["examples"]:
        parts.append(_examples(found["examples"]))
    return Group(*parts)


def reasons_table(reasons: dict[str, int], total: int) -> Table:
    """A bar for each reason, with what it means. An example may have several, so that the shares add up to more than the whole."""
    from rich.table import Table

    from workers.catalog.dropped_examples import meaning

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("reason", "examples", "share", "", "meaning"):
        table.add_column(column, justify="right" if column in ("examples", "share") else "left", no_wrap=column != "meaning")
    most = max(reasons.values(), default=1)
    for reason, rows in reasons.items():
        bar = "█" * max(1, round(_BAR * rows / most))
        table.add_row(reason, f"{rows:,}", f"{100 * rows / total:.1f} %", bar, meaning(reason))
    return table


def _examples(examples: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(show_lines=True, header_style="bold")
    for column in ("reasons", "origin", "tweet", "target"):
        table.add_column(column)
    for each in examples:
        table.add_row("\n".join(each["reasons"]), each["origin"], styled(each["prompt"]), styled(each["target"]))
    return table


def told(dropped: dict[str, int]) -> str:
    """Drops by reason in one line, such as ` Dropped: language 3, new_word 12.`; nothing where none were."""
    reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in dropped.items() if rows)
    return f" Dropped: {reasons}." if reasons else ""


def flags_told(flagged: dict[str, int], rows: int) -> str:
    """What a person wrote and filters doubt, in one sentence: `3 (negation 2, new_name 1)` and why they are kept."""
    found = ", ".join(f"{reason} {number:,}" for reason, number in flagged.items())
    return f" Kept, since a person wrote them, but flagged: {rows:,} ({found})." if flagged else ""
