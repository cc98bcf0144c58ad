"""Keeps what was forgotten out of the files of trainings: those of jobs that do not run are removed, and written anew when one runs again.

A training writes the texts that it learns from to its folder of runs, and their token ids beside them. They go when it is done. What a
killed one left, and the token ids that one keeps for its next attempt, go as soon as an example of its dataset was taken back. A
training that runs goes on with its files, and is counted as one that may have learnt from it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlmodel import Session, col, or_, select

from schemas.payloads import Stage
from schemas.states import JobState
from schemas.tables.datasets import Dataset
from schemas.tables.forgetting import TakenBack
from schemas.tables.jobs import Job
from schemas.tables.models import Model
from schemas.training import TrainingSpec
from workers import files
from workers.catalog import model_card
from workers.catalog.removal import taken_back
from workers.database import session
from workers.settings import get_settings
from workers.training.examples import EVAL_FILE, TRAIN_FILE, WrittenExamples
from workers.training.protocol.payload import TOKENS_FOLDER
from workers.training.recorder import attempt_folder

NOTE_FILE = "dataset.json"


class Note(BaseModel):
    """Of which examples the files in a job's folder are.

    Attributes:
        dataset: its id.
        stage: of the examples.
        learn_from: as in the recipe.
        taken_back: how many of these examples were taken back of it when the files were written.
    """

    model_config = ConfigDict(frozen=True)

    dataset: int
    stage: str
    learn_from: str
    taken_back: int


@dataclass(frozen=True)
class Cleaned:
    """What a look at the folders of runs did: how many lost files, and how many belong to trainings that run."""

    folders: int = 0
    in_use: int = 0


def read_note(runs: Path) -> Note | None:
    """Return the note in a job's folder; None where there is none that can be read."""
    with suppress(OSError, ValidationError):
        return Note.model_validate_json((runs / NOTE_FILE).read_bytes())
    return None


def begin(runs: Path, spec: TrainingSpec, written: WrittenExamples) -> int:
    """Note what an attempt has written, and remove the token ids of examples that are gone; return how many went since the one before."""
    before = read_note(runs)
    note = Note(dataset=written.dataset, stage=Stage(spec.stage).value, learn_from=spec.learn_from, taken_back=written.taken_back)
    gone = note.taken_back - before.taken_back if before is not None and before.dataset == note.dataset else 0
    if gone:
        shutil.rmtree(runs / TOKENS_FOLDER, ignore_errors=True)
    files.write_text(runs / NOTE_FILE, note.model_dump_json())
    return gone


def clean(*, cards: bool = True) -> Cleaned:
    """Remove from this machine's folder of runs what may hold forgotten tweets, and renew the cards of models that learnt from them.

    Args:
        cards: whether to renew them: they change when more is forgotten.
    """
    cleaned = in_use = 0
    for folder, job in _folders(get_settings().runs_folder):
        tokens = list((folder / TOKENS_FOLDER).glob("*")) + list((folder / TOKENS_FOLDER).glob(".*"))
        with session() as opened:
            attempt, is_running, has_lost = _standing(opened, folder, job)
        if is_running:
            in_use += has_lost
        elif has_lost and attempt is not None:
            cleaned += _remove(folder, attempt, tokens)
    if cards:
        _renew_cards()
    return Cleaned(cleaned, in_use)


def remove(job: UUID) -> None:
    """Remove the folder of a job that is gone."""
    shutil.rmtree(get_settings().runs_folder / str(job), ignore_errors=True)


class Cleaner:
    """Cleans this machine's folder of runs whenever examples were taken back since it was called last, and then until nothing is in use."""

    def __init__(self) -> None:
        self._seen = -1
        self._waits = False

    def __call__(self) -> None:
        """Look, and clean if there is reason to."""
        with session() as opened:
            total = taken_back.total(opened)
        if total != self._seen or self._waits:
            self._waits = clean(cards=total != self._seen).in_use > 0
            self._seen = total


def _folders(runs: Path) -> Iterator[tuple[Path, UUID]]:
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        with suppress(ValueError):
            yield folder, UUID(folder.name)


def _standing(opened: Session, folder: Path, job: UUID) -> tuple[int | None, bool, bool]:
    """Return a job's newest attempt, whether it runs, or a member of it on another node, and whether its dataset lost what it had read.

    The attempt is None where the job is not in this database: then its folder is none of ours.
    """
    found = opened.get(Job, job)
    if found is None:
        return None, False, False
    running = select(Job.id).where(or_(Job.id == job, Job.parent == job), Job.state == JobState.RUNNING)
    return found.attempt, opened.exec(running.limit(1)).first() is not None, _has_lost(opened, read_note(folder), found)


def _has_lost(opened: Session, note: Note | None, job: Job) -> bool:
    if note is not None:
        return taken_back.to_learn_from(opened, note.dataset, Stage(note.stage), note.learn_from) != note.taken_back
    # Of an earlier version, which made no note.
    dataset = opened.exec(select(Dataset.id).where(Dataset.name == job.payload.get("dataset"))).one_or_none()
    return dataset is not None and taken_back.of_dataset(opened, dataset) > 0


def _remove(folder: Path, newest: int, tokens: list[Path]) -> bool:
    """Remove the files of attempts up to the newest one that is known, for another may begin now; return whether there were any."""
    texts = [
        file
        for number in range(newest + 1)
        for name in (TRAIN_FILE, EVAL_FILE)
        for file in (folder / attempt_folder(number) / name, *(folder / attempt_folder(number)).glob(f"node-*/{name}"))
        if file.exists()
    ]
    for file in texts:
        file.unlink(missing_ok=True)
    for each in tokens:
        shutil.rmtree(each, ignore_errors=True)
    return bool(texts or tokens)


def _renew_cards() -> None:
    with session() as opened:
        touched = opened.exec(select(Model.id).where(col(Model.dataset).in_(select(TakenBack.dataset)))).all()
    for model in touched:
        model_card.refresh(model=model)
