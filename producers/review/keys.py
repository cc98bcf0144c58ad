"""Lists the keys of the review page, and its help."""

from __future__ import annotations

from textual.binding import Binding

# Of priority, so that each key has done its work before the next one is looked at, however fast they come.
KEYS = (
    Binding("a", "accept", "Accept", priority=True),
    Binding("e", "edit", "Edit", priority=True),
    Binding("r", "reject", "Reject", priority=True),
    Binding("s", "skip", "Skip", priority=True),
    Binding("u", "undo", "Undo", priority=True),
    Binding("question_mark", "help", "Help", priority=True),
    Binding("q", "quit", "Quit", priority=True),
)

HELP = """\
 a   accept: the target is right as it is
 e   edit: change the target; Enter keeps the change, Escape discards it
 r   reject: nothing should be learnt from this row
 s   skip: not now; `tweetmill review --skipped` shows it again
 u   undo: take back what you said last, step by step
 ?   this page
 q   quit: all is stored already, the next sitting goes on from here

Which row comes next?  The one at which a look tells most: the checks find fault
with its target, a teacher's answers differ, or its words stand nowhere else.

After an edit, the page may ask whether the same words are to be replaced in all
other rows. It shows them first. One u takes all of it back.
"""
