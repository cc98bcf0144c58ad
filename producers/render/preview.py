"""The preview of a recipe as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from producers.render.examples import blocks, reasons_table
from producers.render.output import styled

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def page(found: dict[str, Any]) -> RenderableType:
    """Return some examples of each origin, then the figures, which stay on the screen below them."""
    from rich.console import Group

    parts: list[RenderableType] = []
    if found["examples"]:
        parts += [blocks(map(_example, found["examples"])), ""]
    parts.append(_facts(found))
    if found["dropped"]:
        parts.append(reasons_table(found["dropped"], max(1, found["counts"]["dropped"])))
    parts += [styled(f"Note: {each}.", style="yellow") for each in found["notes"]]
    parts += [styled(f"Not as expected: {each}", style="yellow") for each in found["unmet"]]
    return Group(*parts)


def _example(each: dict[str, Any]) -> tuple[str, dict[str, str]]:
    fate = [f"dropped for {', '.join(each['reasons'])}"] if each["reasons"] else [each["split"]]
    fate += [f"flagged for {flag}, kept" for flag in each["flagged"]]
    return " · ".join([each["origin"], *fate]), {"tweet": each["prompt"], "target": each["target"]}


def _facts(found: dict[str, Any]) -> Table:
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for kind, part in found["sources"].items():
        looked_at = "" if part["there"] == part["looked_at"] else f", {part['looked_at']:,} of them looked at"
        facts.add_row(kind, f"{part['there']:,}{looked_at}")
    if noise := found["noise"]:
        part = "" if noise["tweets"] == noise["of"] else f" of the {noise['of']:,} that the run will read"
        facts.add_row("noise", f"{noise['profile']}, learnt from {noise['tweets']:,} tweets{part}")
    if teacher := found["teacher"]:
        facts.add_row("teacher", _teacher(teacher))
    counts = found["counts"]
    about = "about " if found["about"] else ""
    learnt = ", ".join(f"{number:,} of {origin}" for origin, number in counts["train"].items())
    facts.add_row("train", f"{about}{sum(counts['train'].values()):,} examples ({learnt})" if learnt else "nothing")
    facts.add_row("test", f"{about}{counts['test']:,} examples")
    if found["flagged"]:
        flags = ", ".join(f"{reason} {number:,}" for reason, number in found["flagged"].items())
        facts.add_row("flagged", f"{flags} of what people wrote and was looked at: kept, and first in a review")
    facts.add_row("dropped", f"{about}{counts['dropped']:,} examples, {100 * counts['dropped_share']:.1f} %")
    return facts


def _teacher(teacher: dict[str, Any]) -> str:
    if "error" in teacher:
        return f"{teacher['model']} would be asked {teacher['of']:,} times, but: {teacher['error']}"
    text = f"{teacher['model']}: {teacher['looked_at']:,} of {teacher['of']:,} questions looked at, {teacher['refused']:,} answers refused"
    if ahead := teacher.get("projected"):
        seconds = "" if ahead["seconds"] is None else f", {_duration(ahead['seconds'])}"
        text += f". All of them: about {ahead['tokens']:,} tokens, {ahead['usd']:.2f} dollars{seconds}"
    return text + ". What was asked is not asked again."


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
