"""Rich's console without its markup: what it is given is shown, never obeyed. It is imported when there is something to show."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from producers.render import streams
from workers.showable import showable


class Screen(Console):
    """A console on which no string is markup, an emoji's name or an order to the terminal, wherever in a table it stands."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **how)

    def make_room(self, width: int) -> None:
        """Be as wide as a list needs where no terminal and no COLUMNS bounds it: whoever reads a pipe has all the room."""
        if not self.is_terminal and not self._environ.get("COLUMNS"):
            self.width = max(self.width, width)

    def render_str(self, text: str, **how: Any) -> Text:
        """A string as text, before its width is measured."""
        return super().render_str(showable(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is shown, with nothing in it that only the console itself may say."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(showable(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """The reader has left: the rest goes nowhere, and the verb ends as it would have."""
        self.quiet = True
        streams.reader_left(sys.stderr if self.stderr else sys.stdout)
