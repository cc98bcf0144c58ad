"""Run the producer of a storm: `python -m tests.nemesis.load HISTORY SEED MODEL [work] [summaries] [training]`.

It asks for work until SIGTERM, batch after batch. What is in a batch follows from seed and number, and so do the idempotency keys: a
producer that is killed between two of its transactions is started again and asks for the same batch. SIGUSR1 asks for a large one.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from schemas.payloads import SummarizationSpec
from schemas.training import TrainingSpec
from tasks import summarization, training
from tasks.enqueue import job_key, publish_now
from tests.nemesis.history import History, read
from tests.support.work import KIND, QUEUE, Fault, Work
from workers.database import transaction
from workers.errors import TweetmillError
from workers.jobs import ledger

PERIOD = 2.5  # seconds between two batches
ENOUGH = 25  # unfinished jobs at which the producer waits
LARGE = 60  # jobs of a large batch
CHUNK = 4  # jobs of one transaction
TWEETS, SHARD = 40, 20
STEPS, SAVE_STEPS, STALL_TIMEOUT = 120, 20, 20.0
MAX_FAILURES_OF_POISON = 3
# Work that misbehaves: how often in how many batches, what it does and for how many attempts; None: for ever.
_FAULTY: Sequence[tuple[int, Fault, int | None]] = (
    (5, "raise", None),
    (6, "kill pool child", 1),
    (7, "kill between rows and commit", 2),
    (9, "exhaust memory", None),
    (24, "kill worker", None),
)
_WORDS = ("bus", "train", "sister", "Oslo", "library", "Monday", "swimming", "medals", "city", "hope", "late", "open")


class Producer:
    """Asks for work, and writes what it asks for into the history before and after."""

    def __init__(self, history: Path, seed: int, model: Path, work: Sequence[str]) -> None:
        self._history = History(history)
        self._seed = seed
        self._model = model
        self._work = frozenset(work)
        committed = [event["batch"] for event in read(history) if event["event"] == "committed"]
        self._next = max(committed, default=-1) + 1
        self._told = threading.Event()
        begun = [event["jobs"] for event in read(history) if event["event"] == "asked" and event["batch"] == self._next]
        self._large = any("/large/" in key for jobs in begun for key in jobs)
        signal.signal(signal.SIGTERM, lambda *_: self._told.set())
        signal.signal(signal.SIGUSR1, self._ask_for_large)

    def _ask_for_large(self, *_: object) -> None:
        self._large = True

    def run(self) -> None:
        """Ask until told to stop. A server that is away costs a batch its time and nothing else."""
        while not self._told.is_set():
            begun = time.monotonic()
            try:
                if self._large or self._unfinished() < ENOUGH:
                    self._batch(self._next)
                    self._next += 1
            except (TweetmillError, SQLAlchemyError) as error:
                self._history.write("producer waits", reason=type(error).__name__)
            while time.monotonic() - begun < PERIOD and not self._told.is_set() and not self._large:
                time.sleep(0.05)

    def _unfinished(self) -> int:
        with transaction() as connection:
            return int(connection.execute(text("SELECT count(*) FROM job WHERE state IN ('queued', 'running')")).scalar_one())

    def _batch(self, number: int) -> None:
        if "work" in self._work:
            self._ask_for_work(number, f"{self._seed}/{number}/work", list(_work_of(self._seed, number)))
        if self._large:
            self._ask_for_work(number, f"{self._seed}/{number}/large", [Work()] * LARGE)
        if "summaries" in self._work and number % 8 == 0:
            self._ask_for_summaries(number)
        if "training" in self._work:
            self._ask_for_training(number)
        self._history.write("committed", batch=number)
        self._large = False

    def _ask_for_work(self, number: int, key: str, specs: Sequence[Work]) -> None:
        jobs = [
            ledger.NewJob(kind=KIND, queue=QUEUE.value, payload=spec, idempotency_key=f"{key}/{place}") for place, spec in enumerate(specs)
        ]
        asked = {job.idempotency_key: _expected(spec) for job, spec in zip(jobs, specs, strict=True)}
        self._history.write("asked", batch=number, jobs=asked)
        for start in range(0, len(jobs), CHUNK):
            chunk = jobs[start : start + CHUNK]
            poison = [job.id for job in chunk if _is_poison(asked[job.idempotency_key])]
            with transaction() as connection:
                ledger.insert(connection, chunk)
                few = text("UPDATE job SET max_failures = :few WHERE id = ANY(:poison)")
                connection.execute(few, {"few": MAX_FAILURES_OF_POISON, "poison": poison})
            publish_now(QUEUE)

    def _ask_for_summaries(self, number: int) -> None:
        source, key = f"storm-{number}", f"{self._seed}/{number}/summaries"
        chance = random.Random(f"{self._seed}/{number}/tweets")
        rows = [{"id": f"{source}-{place}", "text": f"{' '.join(chance.choices(_WORDS, k=6))} {source} {place}"} for place in range(TWEETS)]
        self._history.write("asked", batch=number, jobs={key: {"what": "summaries", "tweets": TWEETS, "ends": ["done"]}})
        with transaction() as connection:
            new = f"INSERT INTO tweet (id, source, text, text_hash) VALUES (:id, '{source}', :text, md5(:text)) ON CONFLICT DO NOTHING"  # noqa: S608
            connection.execute(text(new), rows)
            model = connection.execute(text("SELECT id FROM model WHERE name = 'tiny'")).scalar_one()
        summarization.enqueue(SummarizationSpec(model_id=model, source=source, shard_size=SHARD, guard=False), key)

    def _ask_for_training(self, number: int) -> None:
        with transaction() as connection:
            busy = "SELECT count(*) FROM job WHERE queue = 'training' AND state IN ('queued', 'running')"
            if connection.execute(text(busy)).scalar_one():
                return
            dataset = str(connection.execute(text("SELECT fingerprint FROM dataset WHERE name = 'storm'")).scalar_one())
        spec = TrainingSpec(
            name=f"tuned-{number}",
            base=str(self._model),
            dataset="storm",
            world_size=2,
            max_steps=STEPS,
            save_steps=SAVE_STEPS,
            logging_steps=2,
            gradient_accumulation_steps=6,
            stall_timeout=STALL_TIMEOUT,
            bf16=False,
        )
        key = job_key(training.TRAIN, spec, dataset)
        expected = {"what": "training", "steps": STEPS, "save_steps": SAVE_STEPS, "ends": ["done"]}
        self._history.write("asked", batch=number, jobs={key: expected})
        training.enqueue(spec, dataset_fingerprint=dataset)


def _work_of(seed: int, number: int) -> Iterator[Work]:
    """The work of one batch. Quick and slow, and some that misbehaves."""
    chance = random.Random(f"{seed}/{number}/work")
    for _ in range(3):
        yield Work(rows=chance.randint(1, 4), pause=round(chance.uniform(0.0, 0.3), 2))
    if number % 4 == 1:
        yield Work(rows=5, pause=1.1)  # longer than a lease
    for often, fault, attempts in _FAULTY:
        if number % often == often - 1:
            yield Work(rows=2, pause=0.1, fault=fault, **({} if attempts is None else {"faulty_attempts": attempts}))


def _expected(spec: Work) -> dict[str, Any]:
    poison = spec.fault is not None and spec.faulty_attempts > 1000
    return {"what": "work", "rows": spec.rows, "fault": spec.fault, "ends": ["quarantined"] if poison else ["done"]}


def _is_poison(expected: dict[str, Any]) -> bool:
    return bool(expected["ends"] == ["quarantined"])


def prepare(model: Path) -> None:
    """What the producer's requests refer to: a tiny base model, and a dataset to train on."""
    with transaction() as connection:
        new = text("INSERT INTO model (name, base, method, stage) VALUES ('tiny', :base, 'none', 'summary')")
        connection.execute(new, {"base": str(model)})
        dataset = text("INSERT INTO dataset (name, fingerprint) VALUES ('storm', 'f00d') RETURNING id")
        dataset_id = connection.execute(dataset).scalar_one()
        columns = "(dataset, key, stage, prompt_text, target_text, origin, lineage, split, cluster)"
        values = "(:dataset, :key, 'summary', :prompt, :target, 'noise', '{}', 'train', :cluster)"
        chance = random.Random(0)
        rows = [
            {"dataset": dataset_id, "key": f"k{place:03}", "prompt": " ".join(chance.choices(_WORDS, k=5)), "cluster": place}
            | {"target": f"The {chance.choice(_WORDS)} was late."}
            for place in range(48)
        ]
        connection.execute(text(f"INSERT INTO example {columns} VALUES {values}"), rows)  # noqa: S608


def main(arguments: Sequence[str]) -> None:
    """Produce."""
    history, seed, model, *work = arguments
    Producer(Path(history), int(seed), Path(model), work).run()


if __name__ == "__main__":
    main(sys.argv[1:])
