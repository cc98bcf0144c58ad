"""The verb that removes what is old: prune."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from producers.render.output import DATA, AsJson, emit, example, line, say

if TYPE_CHECKING:
    from collections import Counter

    from workers.catalog.removal.merged_models import Removed
    from workers.catalog.removal.pruning import Pruned

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d{1,6})([hdw])")
# What went, in the order in which it is told.
_COUNTED = {
    "tweets": "tweets",
    "summaries": "summaries",
    "selections": "places in selections",
    "examples": "examples",
    "jobs": "jobs",
    "events": "events of jobs",
}
_TOLD_EVERY = 100_000  # rows


def register(app: typer.Typer) -> None:
    """Add the verb."""
    lines = ("tweetmill prune --older-than 90d --dry-run", "tweetmill prune --older-than 90d")
    app.command(rich_help_panel=DATA, epilog=example(*lines))(prune)


def prune(
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="As 90d, 36h or 8w.")],
    keep_training: Annotated[
        bool, typer.Option("--keep-training/--no-keep-training", help="Keep tweets that examples or pairs are about, or remove those too.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove old tweets with their summaries, ended jobs, their events, and merged models of no use.

    What an unfinished job needs stays, and so do jobs whose result is a model, a dataset or a score.
    """
    from tasks import maintenance
    from workers import database
    from workers.catalog.removal import merged_models, pruning

    done = pruning.prune(age_of(older_than), keep_training=keep_training, dry_run=dry_run, on_progress=_Progress(quiet=as_json))
    if not dry_run:
        maintenance.remove_run_folders(done.trainings)
    with database.session() as session:
        useless = merged_models.of_no_model(session)
    merged = merged_models.remove(useless, dry_run=dry_run)
    told = {**asdict(done), "merged": asdict(merged), "dry_run": dry_run}
    emit(told, as_json, lambda _: _sentence(done, merged, dry_run=dry_run))


def age_of(given: str) -> timedelta:
    """Return an age that was typed.

    Raises:
        BadParameter: it is none.
    """
    read = _AGE.fullmatch(given.strip().lower())
    if read is None or not int(read[1]):
        raise typer.BadParameter(f"{line(given)}: an age is a whole number with h, d or w, such as 90d", param_hint="--older-than")
    return timedelta(**{_UNITS[read[2]]: int(read[1])})


class _Progress:
    """Says now and then how far it is."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._told = 0

    def __call__(self, counts: Counter[str]) -> None:
        if not self._quiet and counts.total() - self._told >= _TOLD_EVERY:
            self._told = counts.total()
            say(f"{_list(counts)} so far.")


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]:,} {words}" for name, words in _COUNTED.items() if counts[name]) or "nothing"


def _sentence(done: Pruned, merged: Removed, *, dry_run: bool) -> str:
    text = f"{'Would go' if dry_run else 'Removed'}, older than {done.cutoff:%Y-%m-%d %H:%M}: {_list(done.counts)}."
    for loss in done.losses:
        text += f"\nDataset {line(loss.dataset)} loses {loss.examples:,} examples; its fingerprint stays."
        text += f" {line(', '.join(loss.models))}: trained on it." if loss.models else ""
    if merged.models:
        text += f"\nMerged models whose model is gone: {merged.models:,}, {merged.bytes / 2**20:,.0f} MiB."
    if merged.busy:
        text += f"\nBeing merged at this moment, though the model is gone: {len(merged.busy):,}. Prune again later."
    if dry_run or not any(done.counts.values()):
        return text
    text += f"\nTables and indexes: {done.bytes_before / 2**20:,.0f} MiB before, {done.bytes_after / 2**20:,.0f} MiB now."
    return text + " What is free inside them is used for new rows; `VACUUM FULL` in Postgres gives it back, under a lock."
