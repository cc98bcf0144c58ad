"""Texts of the review page: how far the review is, why a row is shown, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from producers.render.output import line, styled
from producers.review.timing import span
from workers.review.claims import RowClaim

if TYPE_CHECKING:
    from rich.text import Text

_BAR = 24


def head(name: str, reviewer: str, rows: int, left: int, pace: float | None) -> Text:
    """Dataset, reviewer, progress, and what the pace makes of the rest; without rows nobody has counted them yet."""
    shown = styled(line(name), "bold") + styled(f"  {line(reviewer)}  ")
    if not rows:
        return shown
    left = max(0, left)
    filled = round(_BAR * (rows - left) / rows)
    shown.append("━" * filled, "green").append("━" * (_BAR - filled), "dim").append(f"  {left:,} of {rows:,} left")
    return shown if pace is None else shown.append(f"  {pace:.1f} s a row, {span(pace * left)} to go")


def reasons(shown: Iterable[str]) -> Text:
    """Return why a row is shown, a line a reason."""
    lines = styled("")
    for each in shown:
        source, _, what = each.partition(": ")
        colour = "yellow" if source == "checks" else "cyan"
        lines.append("\n" if lines else "").append_text(styled(f"{line(source):<8}", colour)).append_text(styled(line(what)))
    return lines or styled("the checks find nothing against it", "dim")


def came_from(row: RowClaim) -> Text:
    """Origin, split, stage, source and key."""
    shown = [f"{row.origin}, {row.split}, stage {row.stage}", _source(row)]
    if row.lineage.get("licence"):
        shown.append(f"licence {row.lineage['licence']}")
    return styled("\n".join([" · ".join(filter(None, shown)), f"tweetmill why {row.key[:12]}"]))


def _source(row: RowClaim) -> str:
    lineage = row.lineage
    if row.origin == "import":
        return f"{lineage.get('place', '?')} of {lineage.get('file', '?')}"
    if row.origin == "teacher":
        teacher = lineage.get("teacher") or {}
        return f"answer of {teacher.get('model', 'a teacher')}" + _of_tweet(row).replace(" of ", " to ")
    if row.origin == "noise":
        done = len(lineage.get("operations") or ())
        return f"a {lineage.get('kind', 'text')} that noise changed in {done} places; the verdict holds for all its copies" + _of_tweet(row)
    return "curated pair" + _of_tweet(row)


def _of_tweet(row: RowClaim) -> str:
    tweet = row.lineage.get("tweet_id")
    return f" of tweet {tweet}" if tweet else ""
