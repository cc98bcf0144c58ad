"""The page of a review, by its keys: the real application before the real Postgres, in a terminal that only it sees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Engine, text
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Static

from producers.review.app import ReviewPage
from producers.review.screens import HelpScreen, RuleScreen
from producers.review.session import ReviewSession
from producers.review.timing import Tally
from tests.support.reviews import Row, add_dataset, plain_rows, reviewed
from workers import database
from workers.review import claims
from workers.review.claims import RowFilter

Story = Callable[[ReviewPage, Pilot[Any]], Awaitable[None]]


def sit(dataset: int, story: Story, limit: int | None = None) -> Tally | None:
    """A sitting at which `story` happens and which ends with q."""

    async def told() -> Tally | None:
        page = ReviewPage(ReviewSession(dataset, "buses", "ann", RowFilter()), limit)
        async with page.run_test(size=(100, 32)) as pilot:
            await until(pilot, lambda: page.row is not None)
            await story(page, pilot)
            await pilot.press("q")
            await until(pilot, lambda: not page.is_running)
        return page.return_value

    return asyncio.run(told())


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        await pilot.pause(0.025)
    raise AssertionError("it does not come to that")


def seen(page: ReviewPage, name: str) -> str:
    return str(page.query_one(f"#{name}", Static).content)


def notes(page: ReviewPage) -> str:
    return " ".join(note.message for note in page._notifications)


async def write(pilot: Pilot[Any], page: ReviewPage, target: str) -> None:
    """Edit the row that is shown."""
    await pilot.press("e")
    page._view.editor.text = target
    await pilot.press("enter")


def test_keys_judge_row_after_row_and_quitting_gives_the_rest_back(clean_database: Engine) -> None:
    dataset = add_dataset(clean_database, plain_rows(8))
    shown: list[str] = []

    async def story(page: ReviewPage, pilot: Pilot[Any]) -> None:
        for key in ("a", "r", "s"):
            assert page.row is not None
            shown.append(page.row.key)
            await pilot.press(key)
            await until(pilot, lambda: page.row is not None and page.row.key not in shown)
        assert page.row is not None
        assert seen(page, "tweet") == page.row.prompt
        assert seen(page, "target") == page.row.target
        assert "5 of 8 left" in seen(page, "head")
        assert "s a row" in seen(page, "head")

    tally = sit(dataset, story)

    rows = reviewed(clean_database, dataset)
    assert [rows[key].verdict for key in shown] == ["accepted", "rejected", "skipped"]
    assert all(rows[key].seconds is not None and rows[key].reviewer == "ann" for key in shown)
    assert all(row.claimed_until is None for row in rows.values()), "what was claimed ahead is anybody's again"
    assert tally is not None
    assert [verdict for verdict, _ in tally.verdicts] == ["accepted", "rejected", "skipped"]


def test_a_row_says_what_the_checks_object_to_and_where_it_came_from(clean_database: Engine) -> None:
    wrong = Row(
        "the tram is late",
        "The tram is 9 minutes late.",
        "import",
        lineage={"file": "elsewhere.jsonl", "place": "line 7", "licence": "CC0"},
    )
    dataset = add_dataset(clean_database, [wrong])

    async def story(page: ReviewPage, pilot: Pilot[Any]) -> None:
        assert "the target has a number that the tweet lacks" in seen(page, "why")
        assert "line 7 of elsewhere.jsonl · licence CC0" in seen(page, "facts")
        await pilot.press("e")
        page._view.editor.text = "The tram is late."
        await until(pilot, lambda: "find nothing against it" in seen(page, "why"))
        await pilot.press("escape")
        assert "a number that the tweet lacks" in seen(page, "why")
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(page.screen, HelpScreen))
        await pilot.press("escape")

    sit(dataset, story)

    assert reviewed(clean_database, dataset)[wrong.key].verdict is None


def test_a_teachers_row_names_the_teacher(clean_database: Engine) -> None:
    lineage: dict[str, object] = {"teacher": {"model": "large"}, "tweet_id": "7", "scores": {"agreement": None}}
    dataset = add_dataset(clean_database, [Row("the tram is late", "The tram is late.", "teacher", lineage=lineage, tweet="7")])

    async def story(page: ReviewPage, _: Pilot[Any]) -> None:
        assert "teacher, train, stage summary · answer of large to tweet 7" in seen(page, "facts")

    sit(dataset, story)


def test_an_edit_is_kept_offered_to_all_and_taken_back_whole(clean_database: Engine) -> None:
    dataset = add_dataset(clean_database, plain_rows(8))

    async def story(page: ReviewPage, pilot: Pilot[Any]) -> None:
        row = page.row
        assert row is not None
        await write(pilot, page, row.target.replace("again", "anew"))
        await until(pilot, lambda: isinstance(page.screen, RuleScreen))
        assert page.screen.query_one("#box").border_title == "fix one, apply to all"
        await pilot.press("y")
        await until(pilot, lambda: page.row is None and "No row waits" in seen(page, "tweet"))
        assert {each.verdict for each in reviewed(clean_database, dataset).values()} == {"edited"}
        await pilot.press("u")
        await until(pilot, lambda: page.row is not None and "7 of 8 left" in seen(page, "head"))
        await pilot.press("u")
        await until(pilot, lambda: page.row is not None and page.row.key == row.key)
        assert page.row is not None
        assert page.row.draft == row.target.replace("again", "anew")
        await pilot.press("u")
        await until(pilot, lambda: "nothing to take back" in notes(page))

    tally = sit(dataset, story)

    assert {row.verdict for row in reviewed(clean_database, dataset).values()} == {None}
    assert tally == Tally()


def test_keys_that_come_all_at_once_are_taken_one_after_the_other(clean_database: Engine) -> None:
    dataset = add_dataset(clean_database, plain_rows(3))

    async def story(page: ReviewPage, pilot: Pilot[Any]) -> None:
        row = page.row
        assert row is not None
        for key in ("e", *["backspace"] * len("again."), *"ears", "enter"):
            page.post_message(Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: isinstance(page.screen, RuleScreen))
        await pilot.press("n")
        assert reviewed(clean_database, dataset)[row.key].target_text == row.target.replace("again.", "ears")

    sit(dataset, story)


def test_a_rule_that_is_declined_changes_the_one_row_alone(clean_database: Engine) -> None:
    dataset = add_dataset(clean_database, plain_rows(3))

    async def story(page: ReviewPage, pilot: Pilot[Any]) -> None:
        assert page.row is not None
        await write(pilot, page, page.row.target.replace("again", "anew"))
        await until(pilot, lambda: isinstance(page.screen, RuleScreen))
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(page.screen, RuleScreen))

    sit(dataset, story)

    assert sorted(str(row.verdict) for row in reviewed(clean_database, dataset).values()) == ["None", "None", "edited"]


def test_an_edit_that_changes_nothing_or_empties_the_target_is_no_verdict(clean_database: Engine) -> None:
    dataset = add_dataset(clean_database, plain_rows(1))

    async def story(page: ReviewPage, pilot: Pilot[Any]) -> None:
        await pilot.press("e", "enter")
        assert "Nothing was changed" in notes(page)
        await write(pilot, page, "  ")
        assert "r rejects the row" in notes(page)
        await pilot.press("escape")

    sit(dataset, story)

    assert {row.verdict for row in reviewed(clean_database, dataset).values()} == {None}


def test_a_verdict_on_a_row_that_went_to_another_is_refused_politely(clean_database: Engine) -> None:
    dataset = add_dataset(clean_database, plain_rows(1))

    async def story(page: ReviewPage, pilot: Pilot[Any]) -> None:
        def claim_ends() -> bool:
            with clean_database.begin() as connection:
                ended = connection.execute(text("UPDATE review SET claimed_until = now() - interval '1 s' WHERE claimed_until IS NOT NULL"))
                return ended.rowcount == 1

        await until(pilot, claim_ends)  # on a busy machine the page may not have its row yet
        with database.session(clean_database) as session:
            assert claims.claim_row(session, dataset, "ben", RowFilter()) is not None
        await pilot.press("r")
        await until(pilot, lambda: "went to another reviewer" in notes(page))

    tally = sit(dataset, story)

    assert tally is not None
    assert (tally.verdicts, tally.lost) == ([], 1)
    assert {row.reviewer for row in reviewed(clean_database, dataset).values()} == {"ben"}


def test_a_sitting_ends_at_its_limit(clean_database: Engine) -> None:
    dataset = add_dataset(clean_database, plain_rows(5))

    async def story(page: ReviewPage, pilot: Pilot[Any]) -> None:
        await pilot.press("a", "a", "a", "a")
        await until(pilot, lambda: "your sitting of 2 rows" in seen(page, "tweet"))

    sit(dataset, story, limit=2)

    assert sorted(str(row.verdict) for row in reviewed(clean_database, dataset).values()) == ["None"] * 3 + ["accepted"] * 2


def test_what_a_row_holds_is_seen_and_neither_obeyed_nor_lost_by_an_edit(clean_database: Engine) -> None:
    hidden = "The bus \x1b[2J\x1b]52;c;bWluZQ==\x07 is [bold]late[/bold] [/x] \u202eagain\u202c \x9b31m."
    lineage = {"file": "[/]\x1b[2J.jsonl", "place": "line 7", "licence": "[bold]\u202e"}
    dataset = add_dataset(clean_database, [Row(hidden, hidden, "import", lineage=lineage)])
    drawn: list[str] = []

    async def story(page: ReviewPage, pilot: Pilot[Any]) -> None:
        assert seen(page, "target") == r"The bus \x1b[2J\x1b]52;c;bWluZQ==\x07 is [bold]late[/bold] [/x] \u202eagain\u202c \x9b31m."
        await pilot.press("e")
        await pilot.pause()
        drawn.extend("".join(segment.text for segment in line) for line in page.screen._compositor.render_strips())
        page._view.editor.text = page._view.editor.text.replace("late", "late today")
        await pilot.press("enter")
        await until(pilot, lambda: page._unstored == 0)
        page.notify("[/x]\x1b[2J")
        await until(pilot, lambda: r"[/x]\x1b[2J" in notes(page))

    sit(dataset, story)

    assert not [line for line in drawn if any(character in line for character in "\x1b\x07\x9b\u202e\u202c")]
    assert any(r"\x1b[2J" in line for line in drawn)
    (row,) = reviewed(clean_database, dataset).values()
    assert row.target_text == hidden.replace("late", "late today")
