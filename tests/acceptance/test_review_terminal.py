"""`tweetmill review` in a real terminal: what is typed there is found in Postgres."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from tests.support.reviews import add_dataset, plain_rows, reviewed
from tests.support.terminal import Terminal

BACKSPACE, ENTER = "\x7f", "\r"


def test_keys_accept_edit_reject_and_quit(clean_database: Engine) -> None:
    dataset = add_dataset(clean_database, plain_rows(6), opened=False)

    def given() -> list[Any]:
        rows = [row for row in reviewed(clean_database, dataset).values() if row.verdict]
        return sorted(rows, key=lambda row: row.reviewed_at)

    with Terminal("review", "buses", "--reviewer", "ann") as terminal:
        terminal.wait_for(lambda: "why this row" in terminal.screen and "6 of 6 left" in terminal.screen)
        terminal.type("a")
        terminal.wait_for(lambda: len(given()) == 1)
        terminal.type("e" + BACKSPACE * len("again.") + "once more." + ENTER)
        terminal.wait_for(lambda: "in 5 more rows?" in terminal.screen)
        terminal.type("n")
        terminal.wait_for(lambda: len(given()) == 2)
        terminal.type("r")
        terminal.wait_for(lambda: len(given()) == 3)
        terminal.type("su")
        terminal.wait_for(lambda: "Taken back: skipped." in terminal.screen)
        terminal.type("q")
        assert terminal.end() == 0

    accepted, edited, rejected = given()
    assert [row.verdict for row in (accepted, edited, rejected)] == ["accepted", "edited", "rejected"]
    assert edited.target_text.endswith("is late once more.")
    assert {row.reviewer for row in (accepted, edited, rejected)} == {"ann"}
    assert all(0 < row.seconds < 60 for row in (accepted, edited, rejected))
    assert [row.claimed_until for row in reviewed(clean_database, dataset).values()] == [None] * 6
    assert "3 rows: 1 accepted, 1 edited, 1 rejected" in terminal.screen
