"""Writes the examples of a training to files: those that are trained on, and those that are held back to evaluate on as it goes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sqlmodel import Session, select

from schemas.payloads import Stage
from schemas.tables.datasets import Dataset
from schemas.training import TrainingSpec
from workers.catalog.examples import training_examples
from workers.catalog.removal import taken_back
from workers.database import session
from workers.errors import NotFound, UserError
from workers.text import prompts
from workers.text.sentences import normalise

TRAIN_FILE = "train.jsonl"
EVAL_FILE = "eval.jsonl"


@dataclass(frozen=True)
class WrittenExamples:
    """What was written: the id and fingerprint of the dataset, the lines to train on, and the examples held back.

    `without_clean` counts the examples that were left out because no clean text of their tweet is known: see `learn_from`. `taken_back`
    counts those that the dataset had lost before, because their tweets were forgotten.
    """

    dataset: int
    fingerprint: str
    lines: int
    held_back: int
    without_clean: int = 0
    taken_back: int = 0


def write(spec: TrainingSpec, folder: Path) -> WrittenExamples:
    """Write the training split of the spec's dataset as JSONL to `folder`, in the order of its keys, and apart from it `eval_rows` of it.

    Examples that say nearly the same, or are of one thread, share a cluster, and a cluster is trained on or evaluated on as a whole. Which
    ones are held back follows from the seed. Examples of equal tweets in other clusters are left out of both.

    Raises:
        NotFound: there is no such dataset.
        UserError: it has too few examples to hold so many back, or no clean text to learn from.
    """
    with session() as opened:
        dataset = opened.exec(select(Dataset).where(Dataset.name == spec.dataset)).one_or_none()
        if dataset is None:
            raise NotFound(f"dataset {spec.dataset}: there is none. `tweetmill synthesize` builds one")
        # Read first: what is taken back while the examples are read may have been learnt.
        gone = taken_back.to_learn_from(opened, dataset.id, Stage(spec.stage), spec.learn_from)
        _check_pairs(opened, dataset.id, spec)
        held = _draw(opened, dataset.id, spec)
        told: set[str] = set()
        held_back = lines = 0
        if held:
            with (folder / EVAL_FILE).open("w", encoding="utf-8") as out:
                for example in training_examples.rows(opened, dataset.id, spec, held):
                    told.add(normalise(example.prompt_text))
                    out.write(_line(example, Stage(spec.stage), tweet=example.prompt_text))
                    held_back += 1
        with (folder / TRAIN_FILE).open("w", encoding="utf-8") as out:
            for example in training_examples.rows(opened, dataset.id, spec):
                if example.cluster not in held and (not told or normalise(example.prompt_text) not in told):
                    lines += _repeated(out, example, spec)
        without = training_examples.without_clean(opened, dataset.id, spec)
    if spec.learn_from == "clean" and not lines:
        raise UserError(f"learn_from: clean needs clean texts, and dataset {spec.dataset} has none: `tweetmill synthesize` with stage=both")
    return WrittenExamples(dataset.id, dataset.fingerprint, lines, held_back, without, gone)


def remove(*folders: Path) -> None:
    """Remove what `write` left in these folders."""
    for folder in folders:
        for name in (TRAIN_FILE, EVAL_FILE):
            (folder / name).unlink(missing_ok=True)


def _draw(opened: Session, dataset: int, spec: TrainingSpec) -> set[int]:
    """Return clusters that hold `eval_rows` examples together, or fewer where the sizes of clusters don't add up to that.

    Raises:
        UserError: that would be more than half of all examples.
    """
    if not spec.eval_rows:
        return set()
    there = training_examples.amount(opened, dataset, spec).examples
    if spec.eval_rows > there // 2:
        raise UserError(f"eval_rows={spec.eval_rows} of {there} training examples: hold back half of them at most")
    held: set[int] = set()
    room = spec.eval_rows
    for cluster, size in training_examples.clusters(opened, dataset, spec):
        if size <= room:
            held.add(cluster)
            room -= size
        if not room:
            break
    if not held:
        raise UserError(f"eval_rows={spec.eval_rows}: every cluster of alike examples in {spec.dataset} is larger; raise eval_rows")
    return held


def _check_pairs(opened: Session, dataset: int, spec: TrainingSpec) -> None:
    """Refuse to learn from more pairs than there are.

    Raises:
        UserError: with how many there are.
    """
    if spec.pairs is None:
        return
    there = training_examples.pairs(opened, dataset, spec.stage)
    if there < spec.pairs:
        of = f"dataset {spec.dataset} has {there} curated pairs of the stage {spec.stage.value}"
        raise UserError(f"pairs={spec.pairs}: {of} to learn from")


def _repeated(out: TextIO, example: Any, spec: TrainingSpec) -> int:
    repeats = spec.human_repeats if example.origin == "human" else 1
    out.write(_line(example, Stage(spec.stage)) * repeats)
    return repeats


def _line(example: Any, stage: Stage, **more: str) -> str:
    prompt = [{"role": message.role, "content": message.content} for message in prompts.tuned(example.prompt_text, stage)]
    return json.dumps({"prompt": prompt, "completion": example.target_text, **more}, ensure_ascii=False) + "\n"
