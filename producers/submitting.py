"""What the verbs that enqueue a job share: their options, the wait for its end, and the messages about it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.render.output import line, say
from schemas.states import RETRIABLE, JobState

if TYPE_CHECKING:
    from schemas.tables.jobs import Job
    from tasks.enqueue import Submitted
    from workers.ingest.counts import Counts

RecipeFile = Annotated[Path, typer.Option("--recipe", "-r", metavar="FILE", help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="What to change of the recipe, such as seed=3.", show_default=False)
]
_ENDED = {JobState.FAILED: "failed", JobState.CANCELLED: "was cancelled", JobState.QUARANTINED: "failed too often"}


def _encoding(name: str | None) -> str | None:
    from workers.ingest.readers.text import checked_encoding

    try:
        return None if name is None else checked_encoding(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Encoding = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=_encoding,
        help="Of the file's text, such as latin-1; default: by its mark, else UTF-8.",
        show_default=False,
    ),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Watch the job until it ends, or return once it is queued.")]


def ended(submitted: Submitted) -> Job:
    """Watch a job until it has ended.

    Raises:
        UserError: it did not succeed; the message says why and what to do.
    """
    from producers.render.progress import watch
    from workers.errors import UserError

    take_up(submitted)
    job = watch(submitted.job)
    if job.state is not JobState.DONE:
        short = str(submitted.job)[:8]
        reason = str(job.error["message"]) if job.error else "no reason was noted"
        advice = "" if "tweetmill retry" in reason else f", `tweetmill retry {short}` runs it again"
        raise UserError(f"job {short} is {job.state.value}: {reason}. `tweetmill job {short}` shows more{advice}")
    return job


def asked(submitted: Submitted) -> dict[str, Any]:
    """Return the result of a verb that does not wait."""
    take_up(submitted)
    return {"job": str(submitted.job), "new": submitted.new}


def job_line(answer: dict[str, Any]) -> str:
    """Return that result as people read it."""
    short = str(answer["job"])[:8]
    return f"Job {short}. `tweetmill logs {short} -f` watches it, `tweetmill job {short}` shows it."


def take_up(submitted: Submitted) -> JobState | None:
    """Say how the job of an equal earlier request stands, and queue it again where it failed or was cancelled.

    Returns:
        The state in which it was; None where there was no such job.
    """
    from workers import database
    from workers.jobs import fanout, queries

    if submitted.new:
        return None
    short = str(submitted.job)[:8]
    with database.session() as session:
        state = queries.job(session, submitted.job).state
        again = state in RETRIABLE and fanout.retry(session.connection(), RETRIABLE, submitted.job)
    if again:
        say(f"The same was asked before and {_ENDED[state]}: job {short} is queued again.")
    else:
        say(f"The same was asked before: job {short} stands for both.")
    return state


def parse_map(option: str | None, known: Collection[str], example: str) -> dict[str, str]:
    """Return, of each field that `--map` names, the path of the column or key that holds it.

    Raises:
        BadParameter: it is malformed, or names an unknown field; the message lists the known ones.
    """
    if option is None:
        return {}
    named = [(field.strip(), path.strip()) for field, _, path in (part.partition("=") for part in option.split(","))]
    if not all(path for _, path in named) or not {field for field, _ in named} <= set(known) or len(dict(named)) < len(named):
        raise typer.BadParameter(f"write {example}; the fields are {', '.join(known)}, each once", param_hint="--map")
    return dict(named)


def say_rejected(origin: str, counts: Counts) -> None:
    """Print the remarks about a file, how many of its lines were rejected, and the command that shows them."""
    from shlex import quote

    for remark in counts.remarks:
        say(f"{line(origin)}: {line(remark)}")
    unused = counts.rejected + counts.collisions
    if unused:
        message = f"{unused} {'line' if unused == 1 else 'lines'} of {line(origin)} could not be used."
        say(f"{message} `tweetmill rejected --origin {line(quote(origin))}` says why.", "yellow")
