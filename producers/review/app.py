"""Runs the page of a review, a full-screen terminal application. Only the verb imports it, when there is a terminal.

A key shows the next row at once, since two more are claimed ahead. What was said is stored behind it, one thing after the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.events import Key
from textual.notifications import SeverityLevel
from textual.widgets import Footer, Static, TextArea

from producers.render.output import line
from producers.review.keys import KEYS
from producers.review.retrying import Retrying
from producers.review.row import Editor, RowView
from producers.review.screens import STYLE, HelpScreen, RuleScreen
from producers.review.session import ReviewSession
from producers.review.text import head
from producers.review.timing import Stopwatch, Tally
from tasks.review import objections
from workers.review.bulk_edits import Rule, rules_of
from workers.review.claims import CLAIM_SECONDS, ClaimLost, RowClaim, Verdict
from workers.showable import showable

_AHEAD = 2
_RENEW_EVERY = 60.0


class ReviewPage(App[Tally]):
    """One sitting of one reviewer; ends with its tally."""

    CSS = STYLE
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    BINDINGS: ClassVar[list[BindingType]] = list(KEYS)

    def __init__(self, review: ReviewSession, limit: int | None = None, watch: Stopwatch | None = None) -> None:
        super().__init__()
        self.row: RowClaim | None = None
        self.tally = Tally()
        self._review, self._limit, self._watch = review, limit, watch or Stopwatch()
        self._ask = Retrying(self._say_unavailable)
        self._ahead: deque[RowClaim] = deque()
        self._held: dict[str, RowClaim] = {}
        self._turn = asyncio.Lock()  # first come, first served: what is said is stored in its order
        self._counts: dict[str, Any] = {"rows": 0, "left": 0}
        self._leaving, self._editing, self._unstored = False, False, 0

    def compose(self) -> ComposeResult:
        """Yield the head, the row, and the keys."""
        yield Static(id="head", markup=False)
        yield RowView(id="body", can_focus=False)
        yield Footer()

    def on_mount(self) -> None:
        """Claim the first rows."""
        self.title = line(f"review of {self._review.name}")
        self._show(None)
        self.set_interval(_RENEW_EVERY, self._renew)
        self.run_worker(self._begin())

    def on_key(self, _: Key) -> None:
        """Any key says that somebody is there."""
        self._watch.touch()

    # What a key does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable the keys of the page while a target is edited."""
        return not self._editing and super().check_action(action, parameters) is not False

    def action_accept(self) -> None:
        """Accept the target."""
        self._say(Verdict.ACCEPTED)

    def action_reject(self) -> None:
        """Nothing should be learnt from this row."""
        self._say(Verdict.REJECTED)

    def action_skip(self) -> None:
        """Not now."""
        self._say(Verdict.SKIPPED)

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(HelpScreen())

    def action_edit(self) -> None:
        """Change the target."""
        if self.row is not None:
            self._view.write(self.row.draft or self.row.target)
            self._edit(True)

    def action_undo(self) -> None:
        """Take back what was said last."""
        # No verdict until the other row is there: it would be one on the wrong row.
        standing, self.row = self.row, None
        self.run_worker(self._undo(standing))

    async def action_quit(self) -> None:
        """Leave when all is stored; asked twice, at once."""
        if self._leaving:
            self.exit(self.tally)
            return
        self._leaving = True
        self.run_worker(self._leave())

    def on_editor_kept(self, message: Editor.Kept) -> None:
        """Store an edit as the verdict, if it changes something."""
        row = self.row
        if row is None:
            return
        if not message.text:
            self.notify("An empty target teaches nothing: Escape, then r rejects the row.", severity="warning")
        elif message.text == row.target:
            self._edit(False)
            self.notify("Nothing was changed: a accepts the target as it is.")
        else:
            self._edit(False)
            self._say(Verdict.EDITED, message.text)

    def on_editor_dropped(self) -> None:
        """Leave the target as it was."""
        self._edit(False)
        self._show(self.row)

    def on_text_area_changed(self, _: TextArea.Changed) -> None:
        """Check the target while it is typed."""
        if self.row is not None and self._editing:
            self._view.judge(objections(self.row.prompt, self._view.editor.kept, self.row.stage))

    # What stands behind

    def _say(self, verdict: Verdict, target: str | None = None) -> None:
        row = self.row
        if row is None or self._leaving:
            return
        self._watch.touch()
        seconds = self._watch.taken()
        self.tally.verdicts.append((verdict.value, seconds))
        self._counts["left"] -= 1
        self._unstored += 1
        self._show(self._ahead.popleft() if self._ahead else None)
        self.run_worker(self._store(row, verdict, seconds, target))

    async def _begin(self) -> None:
        async with self._turn:
            await self._fill()
            await self._count()
            self._show_head()

    async def _store(self, row: RowClaim, verdict: Verdict, seconds: float, target: str | None) -> None:
        async with self._turn:
            try:
                await self._ask(self._review.decide, self._held.pop(row.key, row), verdict, seconds, target)
            except ClaimLost as lost:
                self.tally.verdicts.remove((verdict.value, seconds))
                self.tally.lost += 1
                self.notify(str(lost), severity="warning", timeout=10)
                target = None
            self._unstored -= 1
            await self._fill()
        for rule in rules_of(row.target, target) if target is not None else ():
            await self._offer(rule)

    async def _fill(self) -> None:
        """Claim ahead, and show the first row if none is shown."""
        while len(self._ahead) < _AHEAD and self._may_claim():
            claim = await self._ask(self._review.claim)
            if claim is None:
                break
            self._held[claim.key] = claim
            self._ahead.append(claim)
            if self.row is None:
                self._show(self._ahead.popleft())
        if self.row is None:
            self._show(self._ahead.popleft() if self._ahead else None, done=not self._ahead)
        self._show_head()

    def _may_claim(self) -> bool:
        shown = len(self._ahead) + (self.row is not None)
        return not self._leaving and (self._limit is None or len(self.tally.verdicts) + shown < self._limit)

    async def _offer(self, rule: Rule) -> None:
        """Ask whether to make an edit in all rows, and do it."""
        found, changes = await self._ask(self._review.preview, rule)
        if not found or not await self.push_screen_wait(RuleScreen(rule, found, changes)):
            return
        async with self._turn:
            changed = await self._ask(self._review.apply, rule)
            self.tally.by_rules += changed
            # Some of the rows that were claimed ahead are settled by the rule.
            if self.row is not None and rule.apply(self.row.target) != self.row.target:
                self._held.pop(self.row.key, None)
                self.row = None
            ahead, self._ahead = list(self._ahead), deque()
            await self._ask(self._review.release, [self._held.pop(claim.key, claim) for claim in ahead])
            await self._count()
            await self._fill()
        self.notify(f"{rule}: {changed:,} rows edited. u takes all of it back.")

    async def _undo(self, standing: RowClaim | None) -> None:
        async with self._turn:
            undone = await self._ask(self._review.undo)
            self._show(standing)
            if undone is None:
                self.notify("There is nothing to take back.")
            elif undone.claim is None:
                self.tally.by_rules -= min(undone.rows, self.tally.by_rules)
                self.notify(f"The rule is taken back: {undone.rows:,} rows are as they were.")
            else:
                if standing is not None:
                    self._ahead.appendleft(standing)
                if self.tally.verdicts:
                    self.tally.verdicts.pop()
                self._held[undone.claim.key] = undone.claim
                self._show(undone.claim)
                self.notify(f"Taken back: {undone.verdict}.")
            await self._count()
            await self._fill()

    async def _renew(self) -> None:
        """Keep the claims while somebody is there."""
        if self._watch.idle > CLAIM_SECONDS:
            return
        async with self._turn:
            for key, claim in list(self._held.items()):
                until = await self._ask(self._review.renew, claim)
                if until is not None and key in self._held:
                    self._held[key] = replace(claim, until=until)
            await self._count()
            self._show_head()

    async def _count(self) -> None:
        """Look at how far the review is; while it is this one's turn, nothing that was said is stored."""
        counts = await self._ask(self._review.counts)
        self._counts = {**counts, "left": counts["left"] - self._unstored}

    async def _leave(self) -> None:
        async with self._turn:
            await self._ask(self._review.release, list(self._held.values()))
        self.exit(self.tally)

    # What is seen

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a message for a while: as it stands, never as markup, since words of a row may be in it."""
        del markup
        super().notify(showable(message), title=title, severity=severity, timeout=timeout, markup=False)

    def _say_unavailable(self) -> None:
        self.notify("Postgres does not answer. What you said is kept here and stored when it is back.", severity="warning")

    @property
    def _view(self) -> RowView:
        return self.query_one(RowView)

    def _edit(self, on: bool) -> None:
        self._editing = on
        self._view.edit(on)
        self.screen.set_focus(self._view.editor if on else None)
        self.refresh_bindings()

    def _show(self, row: RowClaim | None, done: bool = False) -> None:
        self.row = row
        if row is None:
            self._view.show_message(self._why_nothing() if done else "…")
        else:
            self._view.show(row)
        self._show_head()
        self._watch.start()

    def _why_nothing(self) -> str:
        if self._limit is not None and len(self.tally.verdicts) >= self._limit:
            return f"That was your sitting of {self._limit} rows. q quits, u takes back."
        build = f"`tweetmill review {self._review.name} --apply` builds the dataset that this review makes."
        return f"No row waits: each has its verdict, or somebody else has it before them. q quits.\n{build}"

    def _show_head(self) -> None:
        shown = head(self._review.name, self._review.reviewer, self._counts["rows"], self._counts["left"], self.tally.seconds_a_row)
        self.query_one("#head", Static).update(shown)
