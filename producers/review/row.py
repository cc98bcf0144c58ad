"""Shows one row on the review page: the tweet, its target or the line in which it is edited, why it is shown, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Static, TextArea

from producers.render.output import styled
from producers.review.text import came_from, reasons
from workers.review.claims import RowClaim
from workers.showable import restored, showable


class Editor(TextArea):
    """A target to be changed: Enter keeps, Escape discards."""

    class Kept(Message):
        """The edit is to be kept."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Dropped(Message):
        """The edit is to be discarded."""

    original = ""
    """The target as it is stored."""

    def begin(self, target: str) -> None:
        """Put a target into the editor, showable, with the cursor behind it."""
        self.original = target
        self.text = showable(target)
        self.move_cursor(self.document.end)

    @property
    def kept(self) -> str:
        """What was typed, with each character that the target had and that is shown as an escape."""
        return restored(self.text, self.original)

    async def _on_key(self, event: events.Key) -> None:
        if event.key in ("enter", "escape"):
            self.post_message(self.Kept(" ".join(self.kept.split())) if event.key == "enter" else self.Dropped())
        elif event.key in self._bindings.key_to_bindings:
            # Left alone, a backspace would be done after the letters that came behind it, since letters take a shorter way.
            await self.run_action(self._bindings.key_to_bindings[event.key][0].action)
        else:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()


class RowView(VerticalScroll):
    """The cards of a row."""

    def compose(self) -> ComposeResult:
        """Lay out the cards one below the other; the editor takes the target's place."""
        for name, title in (("tweet", "tweet"), ("target", "target"), ("why", "why this row")):
            card = Static(id=name, classes="card", markup=False)
            card.border_title = title
            yield card
            if name == "target":
                editor = Editor(id="editor", classes="card", soft_wrap=True)
                editor.border_title = "target: Enter keeps it, Escape discards the change"
                editor.display = False
                yield editor
        yield Static(id="facts", markup=False)

    @property
    def editor(self) -> Editor:
        """Where a target is edited."""
        return self.query_one(Editor)

    def show(self, row: RowClaim) -> None:
        """Show a row."""
        self.remove_class("empty")
        self._card("tweet").update(styled(row.prompt))
        self._card("target").update(styled(row.target, "bold"))
        self._card("why").update(reasons(row.reasons))
        self._card("facts").update(came_from(row))

    def show_message(self, what: str) -> None:
        """Say why there is no row."""
        self.add_class("empty")
        self._card("tweet").update(styled(what))

    def judge(self, found: Iterable[str]) -> None:
        """Show what the checks say against the text that is typed."""
        self._card("why").update(reasons([f"checks: the target {each}" for each in found]))

    def write(self, target: str) -> None:
        """Put a text into the editor."""
        self.editor.begin(target)

    def edit(self, on: bool) -> None:
        """Show the editor, or the target."""
        self.editor.display, self._card("target").display = on, not on

    def _card(self, name: str) -> Static:
        return self.query_one(f"#{name}", Static)
