"""The verb that shows what filters dropped from a dataset: dataset dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import AsJson, emit, say, styled

if TYPE_CHECKING:
    from rich.console import RenderableType


def dropped(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name, also of one whose build failed.")],
    reason: Annotated[str | None, typer.Option(metavar="REASON", help="Only examples dropped for this one.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=100_000, help="Examples to show at most.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show what filters dropped from a dataset: how many examples for which reason, and the examples as they would have been.

    It shows the newest build of that name, whether it became a dataset or not.
    """
    from workers import database
    from workers.catalog.examples import dropped_examples

    with database.session() as session:
        found = dropped_examples.dropped(session, name, reason, limit)
    emit(found, as_json, _page)
    there = found["reasons"].get(reason, 0) if reason else found["total"]
    if there > len(found["examples"]) and not as_json:
        say(f"{there - len(found['examples']):,} more: --limit {there} shows them.")


def _page(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group

    from producers.render.examples import blocks, reasons_table

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
        texts = (
            (" · ".join([each["origin"], *each["reasons"]]), {"tweet": each["prompt"], "target": each["target"]})
            for each in found["examples"]
        )
        parts.append(blocks(texts))
    return Group(*parts)
