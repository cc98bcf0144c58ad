"""Screens over the review page, the help and the preview of a rule, and the style of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from producers.render.output import styled
from producers.review.keys import HELP
from workers.review.bulk_edits import Change, Rule

if TYPE_CHECKING:
    from rich.text import Text

STYLE = """
#head { height: 1; padding: 0 1; background: $panel; }
#body { padding: 0 1; }
.card { border: round $primary; padding: 0 1; margin-top: 1; height: auto; }
#target, #editor { border: round $success; }
#editor { height: 6; }
#why { border: round $warning; }
#facts { color: $text-muted; padding: 1 1 0 1; height: auto; }
.empty #target, .empty #why, .empty #facts { display: none; }
ModalScreen { align: center middle; }
#box { width: 90%; max-width: 100; height: auto; max-height: 80%; padding: 1 2; border: round $accent; background: $surface; }
"""


class HelpScreen(ModalScreen[None]):
    """The keys, and what decides which row is next."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q,enter,space", "dismiss", "Back")]

    def compose(self) -> ComposeResult:
        """Lay out one box."""
        box = Static(styled(HELP), id="box")
        box.border_title = "help"
        box.border_subtitle = "Escape goes back"
        yield box


class RuleScreen(ModalScreen[bool]):
    """What a rule would change; dismissed with whether to apply it."""

    AUTO_FOCUS = "#box"  # so that arrows scroll
    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "dismiss(True)", "Apply to all"),
        ("n,escape", "dismiss(False)", "Only the one row"),
    ]

    def __init__(self, rule: Rule, found: int, changes: Sequence[Change]) -> None:
        super().__init__()
        self._rule, self._found, self._changes = rule, found, changes

    def compose(self) -> ComposeResult:
        """Yield the rule, how many rows it changes, and the first of them."""
        rows = "1 more row" if self._found == 1 else f"{self._found:,} more rows"
        with VerticalScroll(id="box") as box:
            yield Static(styled(str(self._rule), "bold") + styled(f" in {rows}?"))
            yield Static(self._list())
        box.border_title = "fix one, apply to all"
        box.border_subtitle = "y applies it, n leaves the others as they are, arrows scroll"

    def _list(self) -> Text:
        page = styled("")
        for change in self._changes:
            page.append_text(styled(f"\n- {change.before}\n", "red")).append_text(styled(f"+ {change.after}\n", "green"))
        if self._found > len(self._changes):
            page.append(f"\nand {self._found - len(self._changes):,} more", "dim")
        return page
