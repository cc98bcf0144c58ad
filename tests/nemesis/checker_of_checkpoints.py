"""The rules about checkpoints: a training that goes on loses little, and never goes on from a file that was broken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.nemesis.checker import Found, claims_of
from tests.nemesis.record import Record

RESUMED = re.compile(r"resumed from step (\d+) of attempt (\d+)")
# While these last, or until the training has written its next checkpoint, more than an interval may be lost.
_EXCUSES = re.compile("fill_disk|break_checkpoint|.*_postgres.*")


@dataclass(frozen=True)
class Resume:
    """An attempt at a training that went on from a checkpoint of the attempt `maker`; `at` in seconds since the epoch."""

    job: str
    attempt: int
    step: int
    maker: int
    at: float


def resumes(record: Record) -> Iterator[Resume]:
    """Every resume, as the trainings themselves tell it."""
    for move in record.moves:
        resumed = RESUMED.search(move["detail"] or "") if move["event"] == "log" else None
        if resumed:
            yield Resume(move["job"], move["attempt"], int(resumed[1]), int(resumed[2]), move["at"])


def broken_checkpoints_are_not_loaded(record: Record) -> Found:
    """Once a file of a checkpoint was broken nobody goes on from it."""
    broken = [event for event in record.events_of("struck") if event["kind"] == "break_checkpoint"]
    for resume in resumes(record):
        for event in broken:
            same = (event["job"], event["step"], event["attempt"]) == (resume.job, resume.step, resume.maker)
            if same and resume.at > event["wall"]:
                yield resume.job, f"attempt {resume.attempt} went on from step {resume.step}, which had been broken"


def a_resume_loses_at_most_an_interval(record: Record) -> Found:
    """The step that a training goes on from is less than an interval behind the last that the attempt before was seen at."""
    asked = record.asked()
    intervals = {job["id"]: asked[job["key"]]["save_steps"] for job in record.jobs if asked.get(job["key"], {}).get("what") == "training"}
    seen = _seen_steps(record)
    starts = {(job, claim["attempt"]): claim["at"] for job, claims in claims_of(record).items() for claim in claims}
    for resume in resumes(record):
        before = (resume.job, resume.attempt - 1)
        if before not in seen or resume.job not in intervals or _excused(record, starts[before], resume.at):
            continue
        lost = seen[before] - resume.step
        if lost > intervals[resume.job]:
            yield resume.job, f"attempt {resume.attempt} went on from step {resume.step} and lost {lost} steps"


def _seen_steps(record: Record) -> dict[tuple[str, int], int]:
    """The last step that each attempt was seen at: it may have been further. What a row still tells of the attempt before is left out."""
    seen: dict[tuple[str, int], int] = {}
    inherited: dict[tuple[str, int], int] = {}
    last: dict[str, int] = {}
    for event in record.events_of("leases"):
        for job, attempt, _, _, step in event["held"] or ():
            if step is None:
                continue
            if inherited.setdefault((job, attempt), last.get(job, -1)) != step:
                seen[job, attempt] = last[job] = step
    return seen


def _excused(record: Record, since: float, until: float) -> bool:
    """Whether the disk or Postgres was in trouble between two moments."""
    begun = [event["wall"] for event in record.events_of("struck") if _EXCUSES.fullmatch(event["kind"])]
    ended = [event["wall"] for event in record.events_of("healed") if _EXCUSES.fullmatch(event["kind"])]
    under_way = sum(wall <= since for wall in begun) > sum(wall <= since for wall in ended)
    return under_way or any(since <= wall <= until for wall in [*begun, *ended])


CHECKPOINT_RULES: dict[str, Callable[[Record], Found]] = {
    rule.__name__: rule for rule in (broken_checkpoints_are_not_loaded, a_resume_loses_at_most_an_interval)
}
