"""The verb of looking at examples and judging them: review."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.exit_codes import BAD_USAGE
from producers.render.output import DATA, AsJson, emit, example, say, styled
from schemas.numbers import LARGEST_BIGINT

if TYPE_CHECKING:
    from rich.console import RenderableType

    from schemas.tables.datasets import Dataset
    from workers.review.claims import RowFilter

_DECISIONS_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the verb."""
    lines = (
        "tweetmill review summaries",
        "tweetmill review summaries --origin teacher --limit 100",
        "tweetmill review summaries --status",
        "tweetmill review summaries --apply --as summaries-checked",
    )
    app.command(rich_help_panel=DATA, epilog=example(*lines))(review)


def review(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's name.")],
    status: Annotated[bool, typer.Option("--status", help="Show how far the review is.")] = False,
    decisions: Annotated[bool, typer.Option("--decisions", help="Show every verdict with its row.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Build the dataset that the review makes; this one stays.")] = False,
    new_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Its name; default: DATASET-reviewed.", show_default=False)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="With --apply: watch the job until it ends.")] = True,
    reviewer: Annotated[str | None, typer.Option(metavar="NAME", help="Who reviews; default: your login.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=LARGEST_BIGINT, help="Rows of this sitting.", show_default=False)] = None,
    origin: Annotated[str | None, typer.Option(metavar="human|noise|teacher|import", help="Only these rows.", show_default=False)] = None,
    stage: Annotated[str | None, typer.Option(metavar="summary|clean", help="Only these rows.", show_default=False)] = None,
    skipped: Annotated[bool, typer.Option("--skipped", help="Let the rows that were skipped wait again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a dataset's examples one by one and accept, edit or reject them by a key; the most telling ones come first.

    Several people may review at once: no two get the same row. All is stored as you go: quit whenever you like. docs/review.md has more.
    """
    if (status, decisions, apply).count(True) > 1:
        raise typer.BadParameter("choose one of --status, --decisions and --apply")
    row_filter = _row_filter(origin, stage)
    if apply:
        _apply(name, new_name or f"{name.partition('@')[0]}-reviewed", wait, as_json)
    elif status:
        _status(name, row_filter, as_json)
    elif decisions:
        _decisions(name, as_json)
    else:
        _sit_down(name, reviewer or _login(), row_filter, limit, skipped)


def _row_filter(origin: str | None, stage: str | None) -> RowFilter:
    from workers.review.claims import RowFilter

    for option, given, known in (("--origin", origin, ("human", "noise", "teacher", "import")), ("--stage", stage, ("summary", "clean"))):
        if given is not None and given not in known:
            raise typer.BadParameter(f"{given}: there are {', '.join(known)}", param_hint=option)
    return RowFilter(origin, stage)


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        raise typer.BadParameter("this login has no name: say who reviews", param_hint="--reviewer") from None


def _sit_down(name: str, reviewer: str, row_filter: RowFilter, limit: int | None, skipped: bool) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        say(
            f"A review needs a terminal with a keyboard, and this is none. Run `tweetmill review {name}` in one; "
            "`--status`, `--decisions` and `--apply` work everywhere."
        )
        raise typer.Exit(BAD_USAGE)
    from workers import database
    from workers.review import claims

    dataset = _opened(name)
    if skipped:
        with database.session() as session:
            say(f"{claims.requeue_skipped(session, dataset.id):,} rows that were skipped wait again.")
    from producers.review.app import ReviewPage
    from producers.review.session import ReviewSession

    tally = ReviewPage(ReviewSession(dataset.id, name, reviewer, row_filter), limit).run()
    if tally is None:
        return
    say(f"{tally}. `tweetmill review {name}` goes on, `--apply` builds the dataset of it.")
    if tally.lost:
        say(f"{tally.lost} verdicts were not stored: those rows went to another reviewer.", "yellow")


def _opened(name: str) -> Dataset:
    """The dataset, its rows ranked: that takes a second for a thousand of them, once."""
    from rich.progress import Progress

    from producers.render.output import console
    from tasks.review import open_review
    from workers import database
    from workers.catalog import datasets

    with database.session() as session:
        dataset = datasets.resolve(session, name)
    with Progress(console=console(), transient=True) as progress:
        bar = progress.add_task("Ranking the rows, once a dataset", total=None)
        opened = open_review(dataset.id, lambda done, rows: progress.update(bar, completed=done, total=rows))
    if opened.carried:
        say(f"{opened.carried:,} of {opened.rows:,} rows have a verdict from an earlier review.")
    return dataset


def _status(name: str, row_filter: RowFilter, as_json: bool) -> None:
    from workers import database
    from workers.catalog import datasets
    from workers.review import queries

    with database.session() as session:
        seen = queries.status(session, datasets.resolve(session, name).id, row_filter)
    emit({"dataset": name, **seen}, as_json, _status_page)


def _status_page(seen: dict[str, Any]) -> RenderableType:
    from rich.console import Group

    from producers.render.listing import Column, Listing

    if not seen["rows"]:
        return styled(f"Nobody has begun yet: `tweetmill review {seen['dataset']}` does.")
    given = ", ".join(f"{count:,} {verdict}" for verdict, count in seen["verdicts"].items())
    pace = f"; {seen['seconds_a_row']:.1f} s a row (median)" if seen["seconds_a_row"] is not None else ""
    lines = [f"{seen['left']:,} of {seen['rows']:,} rows are left, {seen['claimed']:,} of them before somebody.", f"{given}{pace}"]
    if not seen["reviewers"]:
        return styled("\n".join(lines))
    columns = (
        Column("reviewer", least=16),
        Column("rows", right=True),
        Column("by rules", 1, right=True),
        Column("s a row", 2, right=True),
        Column("last", 3),
    )
    rows = [
        (
            each["reviewer"] or "",
            f"{each['rows']:,}",
            f"{each['by_rules']:,}",
            "" if each["seconds_a_row"] is None else f"{each['seconds_a_row']:.1f}",
            f"{each['last']:%Y-%m-%d %H:%M}",
        )
        for each in seen["reviewers"]
    ]
    return Group(styled("\n".join(lines)), Listing(columns, rows))


def _decisions(name: str, as_json: bool) -> None:
    from workers import database
    from workers.catalog import datasets
    from workers.review import queries

    with database.session() as session:
        found = queries.decisions(session, datasets.resolve(session, name).id)
    emit(found, as_json, _decisions_table)


def _decisions_table(found: list[dict[str, Any]]) -> RenderableType:
    from rich.console import Group

    from producers.render.examples import blocks

    shown = blocks(map(_decision, found[-_DECISIONS_SHOWN:]))
    if len(found) <= _DECISIONS_SHOWN:
        return shown
    return Group(shown, styled(f"The last {_DECISIONS_SHOWN} of {len(found):,}; --json prints all.", style="dim"))


def _decision(each: dict[str, Any]) -> tuple[str, dict[str, str]]:
    texts = {"tweet": each["prompt"], "target": each["target"]}
    if each["edited"] is not None:
        texts["edited"] = each["edited"]
    return " · ".join([each["key"][:8], each["verdict"], *filter(None, [each["reviewer"]])]), texts


def _apply(name: str, new_name: str, wait: bool, as_json: bool) -> None:
    from pydantic import ValidationError

    from producers.cli.dataset import exchange
    from tasks import review

    try:
        submitted = review.enqueue_apply(name, new_name)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"{new_name}: {problem}", param_hint="--as") from None
    exchange.built(submitted, wait, as_json)
