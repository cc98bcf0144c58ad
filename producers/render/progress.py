"""The progress of a job: watch it until it ends, by a live line on a terminal or a plain line now and then elsewhere.

Interrupting the watch does not stop the job.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from producers.render.output import console, line, say, styled
from producers.render.quantities import duration
from schemas.states import JobState

if TYPE_CHECKING:
    from rich.console import RenderableType
    from sqlmodel import Session

    from schemas.tables.jobs import Job
    from workers.jobs.queries import ShardCounts

_LOOK_EVERY = 0.5
_LINE_EVERY = 5.0
_CURVES_EVERY = 2.0
_CHART = (60, 8)  # columns and lines of a curve, whose labels come beside it


@dataclass(frozen=True)
class JobProgress:
    """The progress of a job at one moment. `total` is None while it is not known; `unit` names what is counted."""

    done: float
    total: float | None
    unit: str
    detail: str

    @property
    def line(self) -> str:
        """Return the progress in one plain line, the telling part first."""
        counted = f"{self.done:.12g}/{self.total:.12g} {self.unit}".rstrip() if self.total else ""
        return " · ".join(part for part in (counted, self.detail) if part)


def watch(job_id: uuid.UUID) -> Job:
    """Show a job's progress until it has ended, and return it.

    Raises:
        NotFound: there is no such job.
        KeyboardInterrupt: the person stopped watching; a message says that the job goes on.
    """
    from workers import database
    from workers.jobs import queries

    job: Job | None = None
    curves = _Curves()
    try:
        with display() as show:
            while True:
                with database.session() as session:
                    job = queries.job(session, job_id)
                    shards = queries.shards(session, job_id)
                    chart = curves.shown(session, job) if show.has_room else ""
                show(_title(job), progress_of(job, shards), chart)
                if job.final:
                    break
                time.sleep(_LOOK_EVERY)
    except KeyboardInterrupt:
        if job is not None and not job.final:
            short = str(job_id)[:8]
            say(f"Stopped watching; job {short} goes on. `tweetmill logs {short} -f` watches, cancel {short} ends it.")
        raise
    return job


@contextmanager
def follow_curve(name: str) -> Iterator[Callable[[JobProgress], None]]:
    """Yield what shows how far the points of a curve are. Interrupting it stops no job, and a message says so."""
    try:
        with display() as show:
            yield lambda seen: show(f"curve {name}", seen)
    except KeyboardInterrupt:
        say(f"Stopped watching; trainings go on, scores are asked for by whoever watches: `tweetmill curve show {line(name)} --wait`.")
        raise


def progress_of(job: Job, shards: ShardCounts) -> JobProgress:
    """Return the progress of a job: of its shards, its steps, or the phase it is in."""
    if shards.total:
        return _of_shards(shards)
    if job.remaining is not None:
        is_open = bool(job.progress.get("open"))  # it counts itself, and more shards will come
        ended = job.progress.get("shards", 0) - job.remaining + is_open
        return JobProgress(ended, job.progress.get("shards", 0), "shards", "more to come" if is_open else "")
    if "total_steps" in job.progress:
        return _of_training(job)
    if job.state is JobState.QUEUED:
        return JobProgress(0, None, "", f"failed {job.failures} times, waits for its next try" if job.failures else "waits for a worker")
    if job.progress.get("phase") in ("teacher", "taught") and "of" in job.progress:
        return _of_teacher(job)
    if {"done", "total"} <= job.progress.keys():
        return JobProgress(job.progress["done"], job.progress["total"], "rows", "")
    if "gpu_utilization" in job.progress:  # of a training that makes no steps yet
        from producers.render.training import job_facts

        return JobProgress(0, None, "", " · ".join(["loading", *(fact for _, fact in job_facts(job.progress, has_ended=job.final))]))
    plain = {name: value for name, value in job.progress.items() if not isinstance(value, dict)}
    words_first = sorted(plain.items(), key=lambda item: not isinstance(item[1], str))
    return JobProgress(0, None, "", " · ".join(f"{name} {value}" for name, value in words_first))


def outcome(job: Job) -> str:
    """Return the figures of a finished evaluation, comparison, noise test or dataset; nothing for others, whose progress says it."""
    if job.state is not JobState.DONE or not job.result:
        return ""
    if "tuned" in job.result:
        metric, shown = ("sari", "SARI") if "sari" in job.result["tuned"] else ("err", "ERR")
        figure = job.result["tuned"][metric]
        value = figure["value"] if metric == "sari" else 100 * figure["value"]
        return f"{shown} {value:.1f} · {figure['n']:,} rows"
    if "verdict" in job.result:
        figures = {name: job.result["systems"][name]["sari"] for name in job.result["order"]}
        scores = ", ".join(f"{name} {figure['value']:.1f}" for name, figure in figures.items())
        return f"SARI {scores} · {next(iter(figures.values()))['n']:,} rows"
    if {"fixed", "fitted"} <= job.result.keys():
        auc = {name: job.result[name]["auc"] for name in ("fitted", "fixed")}
        return f"AUC fitted {auc['fitted']['value']:.2f}, fixed {auc['fixed']['value']:.2f} · {auc['fitted']['n']:,} texts"
    counts = job.result.get("counts", {})
    if {"train", "test"} <= counts.keys():
        return f"{counts['train']:,} train · {counts['test']:,} test · {job.result.get('dataset', '')}".removesuffix(" · ")
    return ""


def _of_shards(shards: ShardCounts) -> JobProgress:
    ended = shards.total - shards.states.get("queued", 0) - shards.states.get("running", 0)
    bad = ended - shards.states.get("done", 0)
    busy = len(shards.workers)
    parts = [f"{ended}/{shards.total} shards", f"{busy} worker{'' if busy == 1 else 's'} busy"]
    if bad:
        parts.append(f"{bad} shards not done")
    return JobProgress(shards.rows_done, shards.rows, "rows", " · ".join(parts))


def _of_training(job: Job) -> JobProgress:
    progress = job.progress
    parts = []
    if "loss" in progress:
        loss = progress["loss"]
        parts.append(f"loss {loss:.2f}" if loss >= 0.1 else f"loss {loss:.2g}")
    if "tokens_per_second" in progress:
        parts.append(f"{progress['tokens_per_second']:,.0f} tok/s")
    if "eta_seconds" in progress and not job.final:
        parts.append(duration(progress["eta_seconds"]))
    return JobProgress(progress.get("step", 0), progress["total_steps"], "", " · ".join(parts) or "loading")


def _of_teacher(job: Job) -> JobProgress:
    progress = job.progress
    parts = [f"{progress['cached']:,} known before"] if progress.get("cached") else []
    parts.append(f"{progress.get('tokens', 0):,} tokens")
    asking = progress["phase"] == "teacher" and not job.final
    if asking and progress.get("usd_projected"):
        parts.append(f"{progress['usd']:.4g} of about {progress['usd_projected']:.4g} USD")
    elif progress.get("usd"):
        parts.append(f"{progress['usd']:.4g} USD")
    if asking and "seconds_left" in progress:
        parts.append(f"{duration(progress['seconds_left'])} left")
    if "rows" in progress:
        parts.append(f"{progress['rows']:,} rows made")
    return JobProgress(progress["asked"] + progress.get("cached", 0), progress["of"], "tweets asked", " · ".join(parts))


def _title(job: Job) -> str:
    return f"{job.kind.rpartition('.')[2]} {str(job.id)[:8]} {job.state.value}"


class _Curves:
    """The curves of a training that is watched, read on every few seconds."""

    def __init__(self) -> None:
        from producers.render.training import Curves

        self._curves = Curves()
        self._at = float("-inf")

    def shown(self, session: Session, job: Job) -> str:
        """Return them as lines; empty for other jobs, and before the first step."""
        from workers.jobs import queries

        if "total_steps" not in job.progress:
            return ""
        if time.monotonic() - self._at >= _CURVES_EVERY:
            self._at = time.monotonic()
            # From the last step on: of it an evaluation may have come since.
            self._curves.add(queries.metrics(session, job.id, since=self._curves.loss[-1][0] if self._curves.loss else 0))
        return self._curves.shown(*_CHART)


class _Show(Protocol):
    """Shows the progress of a job; `has_room` for curves above it."""

    has_room: bool

    def __call__(self, title: str, seen: JobProgress, chart: str = "") -> None:
        """Show it, in place of what was shown before."""


@contextmanager
def display() -> Iterator[_Show]:
    """Yield what shows progress on standard error: a line that moves on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    class Live(Progress):
        """A line that moves, below curves where there are some."""

        chart = ""

        def get_renderables(self) -> Iterable[RenderableType]:
            """Return what is shown."""
            return [*([styled(self.chart)] if self.chart else []), *super().get_renderables()]

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TaskProgressColumn())
    with Live(*columns, TimeElapsedColumn(), TextColumn("{task.fields[line]}", markup=False), console=console()) as progress:
        task = progress.add_task("", total=None, line="")

        class Terminal:
            has_room = progress.console.width >= _CHART[0] + 20 and progress.console.height >= _CHART[1] + 8

            def __call__(self, title: str, seen: JobProgress, chart: str = "") -> None:
                progress.chart = chart
                progress.update(task, description=line(title), completed=seen.done, total=seen.total, line=line(seen.line))

        yield Terminal()


class _Lines:
    """Print a line when something changed: at once for a change of state, else every few seconds at most."""

    has_room = False

    def __init__(self) -> None:
        self._title = ""
        self._line = ""
        self._at = 0.0

    def __call__(self, title: str, seen: JobProgress, chart: str = "") -> None:
        del chart
        now = time.monotonic()
        if title == self._title and (seen.line == self._line or now - self._at < _LINE_EVERY):
            return
        self._title, self._line, self._at = title, seen.line, now
        say(line(f"{title}: {seen.line}" if seen.line else title))
