"""The verb that honours deletions: forget."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import DATA, AsJson, emit, example, line, say

if TYPE_CHECKING:
    from workers.catalog.removal.forgetting import Forgotten

_CHARACTERS_OF_AN_ID = 2_000
_AT_ONCE = 5_000
# What was removed, in the order in which it is told; one of it and several.
_REMOVED = {
    "summaries": ("summary", "summaries"),
    "selections": ("place in a selection", "places in selections"),
    "examples": ("example", "examples"),
    "reviews": ("review", "reviews"),
    "dropped": ("dropped example", "dropped examples"),
    "teachings": ("teacher's answer", "teachers' answers"),
    "curated": ("row of a file", "rows of files"),
}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    lines = ("tweetmill forget 1420 1421", "tweetmill forget --author did:plc:abc --yes", "tweetmill forget --file ids.txt --dry-run")
    app.command(rich_help_panel=DATA, epilog=example(*lines))(forget)


def forget(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Ids of tweets.", show_default=False)] = None,
    author: Annotated[list[str] | None, typer.Option(help="All tweets of this author; may be repeated.", show_default=False)] = None,
    file: Annotated[str | None, typer.Option(metavar="IDS", help="A file with an id a line; - is standard input.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    again: Annotated[bool, typer.Option("--allow-again", help="Let these in again at the next ingest, and remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove tweets and all that was made of them, and keep them out when they come again.

    Models that learnt from them stay: it names them. What runs goes on.
    """
    authors = author or []
    if not ids and not authors and file is None:
        raise typer.BadParameter("name tweets by their ids, by --author or by --file", param_hint="ID…")
    if file == "-" and not (yes or dry_run or again):
        raise typer.BadParameter("with ids from standard input nobody can be asked: give --yes or --dry-run", param_hint="--file")
    with ExitStack() as opened:
        named = _Named(ids or [], opened.enter_context(_file(file)) if file is not None else None)
        if again:
            _allow_again(named, authors, as_json)
            return
        if not yes or dry_run:
            found = _foreseen(named, authors)
            if dry_run:
                emit(asdict(found), as_json, lambda _: _sentence(found, "Would be forgotten"))
                return
            _confirm(found)
        _forget(named, authors, as_json)


class _Named:
    """The ids of the command line and of a file, read anew each time, so that memory does not grow with them."""

    def __init__(self, ids: list[str], lines: IO[bytes] | None) -> None:
        self._ids = ids
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        yield from self._ids
        if self._lines is not None:
            self._lines.seek(0)
            for number, raw in enumerate(self._lines, 1):
                if given := _id(raw, number):
                    yield given


def _file(name: str) -> IO[bytes]:
    if name != "-":
        try:
            return Path(name).open("rb")
        except OSError as error:
            raise typer.BadParameter(f"{name}: {(error.strerror or 'it can not be read').lower()}", param_hint="--file") from None
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - it is read more than once
    with open(0, "rb", closefd=False) as given:
        shutil.copyfileobj(given, copy)
    return copy


def _id(raw: bytes, number: int) -> str:
    from workers.errors import UserError

    try:
        given = raw.decode().strip()
    except UnicodeDecodeError:
        given = "\0"
    if "\0" in given or len(given) > _CHARACTERS_OF_AN_ID:
        raise UserError(f"line {number} of the ids is no id: a line holds one id and nothing else, in UTF-8")
    return given


def _foreseen(named: _Named, authors: list[str]) -> Forgotten:
    """Return what would be removed."""
    from workers import database
    from workers.catalog.removal.foreseen import would_forget

    with database.transaction() as connection:
        return would_forget(connection, named, authors)


def _confirm(found: Forgotten) -> None:
    say(_sentence(found, "Would be forgotten"))
    typer.confirm("Forget this? It can't be undone.", abort=True, err=True)


def _forget(named: _Named, authors: list[str], as_json: bool) -> None:
    from tasks import maintenance
    from workers.catalog.removal import forgetting

    done = forgetting.forget_all(named, authors, lambda so_far: say(f"{so_far:,} ids done.") if so_far >= 10 * _AT_ONCE else None)
    cleaned = maintenance.clean_run_folders()
    answer: dict[str, Any] = {**asdict(done), "run_folders": asdict(cleaned)}
    emit(answer, as_json, lambda _: _sentence(done, "Forgotten"))
    if cleaned.in_use:
        keep = "training keeps its files until it ends" if cleaned.in_use == 1 else "trainings keep their files until they end"
        say(f"{cleaned.in_use} running {keep}; a worker removes them then.")
    for caution in _cautions():
        say(caution)


def _cautions() -> Iterator[str]:
    from workers.settings import get_settings

    yield "Files that you wrote with export, report or --out, and backups of Postgres, may hold them still: those are yours to remove."
    demo = get_settings().home / "demo" / "tweets.jsonl"
    if demo.exists():
        yield f"So may {demo}, which the demo fetched."


def _sentence(done: Forgotten, verb: str) -> str:
    removed = [_counted(getattr(done, name), *words) for name, words in _REMOVED.items() if getattr(done, name)]
    text = f"{verb}: {_counted(done.tweets, 'tweet', 'tweets')}" + (f", with {', '.join(removed)}" if removed else "") + "."
    if done.copies:
        says = "other tweet says" if done.copies == 1 else "other tweets say"
        text += f"\n{done.copies:,} {says} the same to the letter and stay: they are forgotten by their own ids."
    for loss in done.losses:
        text += f"\nDataset {line(loss.dataset)} loses {_counted(loss.examples, 'example', 'examples')}; its fingerprint stays."
        if loss.models:
            were = "was" if len(loss.models) == 1 else "were"
            text += f" {line(', '.join(loss.models))} {were} trained on it: the weights may remember. Train again to be rid of that."
        if loss.trainings:
            text += f" {', '.join(job[:8] for job in loss.trainings)} is training on it and goes on: `tweetmill cancel` ends it."
    return text


def _counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _allow_again(named: _Named, authors: list[str], as_json: bool) -> None:
    from workers import database
    from workers.catalog.removal import forgetting

    with database.transaction() as connection:
        allowed = forgetting.allow_again(connection, named, authors)
    emit({"allowed": allowed}, as_json, lambda _: f"{_counted(allowed, 'name', 'names')} may come in again; the others were not forgotten.")
