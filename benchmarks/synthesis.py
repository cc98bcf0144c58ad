"""A dataset of 100,000 clean sentences through the real job and Postgres: how fast, in how much memory, and whether twice the same."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from benchmarks.measure import CannotRun
from benchmarks.servers import ROOT, empty
from schemas.forms import Form
from schemas.records import TweetRecord
from schemas.synthesis import SynthesisSpec
from workers import database
from workers.database import transaction

SIZES, QUICK_SIZES = (10_000, 30_000, 100_000), (200, 400)
TWEETS, PAIRS = 3_000, 300
PLANTED = 0.02  # of the sentences: each an earlier one with another ending
COPIES = 1

_PHASES = {
    "read": ("claimed", "read"),
    "learn the noise": ("read", "learnt"),
    "plan": ("learnt", "planned"),
    "make rows": ("planned", "made"),
    "store": ("made", "ended"),
}
# A line of the job's log begins with what was done.
_EVENTS = """
SELECT extract(epoch FROM at) AS at, CASE event WHEN 'log' THEN split_part(detail, ':', 1) ELSE event END AS name
FROM job_event WHERE job = :job ORDER BY id
"""


@dataclass(frozen=True)
class Run:
    """One job: rows it made, seconds by phase, and mebibytes of its process at most, before and in all."""

    sentences: int
    rows: int
    duplicates: int
    seconds: dict[str, float]
    before_mib: float
    peak_mib: float
    sha256: str

    @property
    def rows_a_second(self) -> float:
        """Over all phases, from the claim to the commit."""
        return self.rows / sum(self.seconds.values())


@dataclass(frozen=True)
class Synthesis:
    """The runs, the last two of one recipe."""

    runs: list[Run]

    @property
    def bytes_a_row(self) -> float:
        """By how much the peak grows a row, from the smallest run to the largest."""
        small, large = self.runs[0], self.runs[-2]
        return (large.peak_mib - small.peak_mib) * 2**20 / (large.rows - small.rows)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "n": self.runs[-1].sentences,
            "unit": "clean sentences",
            "rows_a_second": round(self.runs[-2].rows_a_second, 1),
            "bytes_of_memory_a_row": round(self.bytes_a_row),
            "same_bytes_twice": self.runs[-1].sha256 == self.runs[-2].sha256,
            "sha256": self.runs[-1].sha256,
            "runs": [
                {
                    "sentences": run.sentences,
                    "rows": run.rows,
                    "near_duplicates_left_out": run.duplicates,
                    "seconds": {phase: round(seconds, 1) for phase, seconds in run.seconds.items()},
                    "before_mib": round(run.before_mib),
                    "peak_mib": round(run.peak_mib),
                }
                for run in self.runs
            ],
        }

    def lines(self) -> list[str]:
        """For people."""
        told = [
            f"{run.sentences} clean sentences: {run.rows} rows, {run.rows_a_second:.0f} a second, peak {run.peak_mib:.0f} MiB "
            f"({run.before_mib:.0f} before); " + ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in run.seconds.items())
            for run in self.runs
        ]
        same = "byte for byte the same" if self.runs[-1].sha256 == self.runs[-2].sha256 else "NOT the same"
        return [*told, f"{self.bytes_a_row:.0f} bytes of memory a row more; two runs of one recipe, exported: {same}"]


def run(*, quick: bool) -> Synthesis:
    """Build a dataset of each size, and of the last one twice."""
    sizes = QUICK_SIZES if quick else SIZES
    empty("job", "tweet", "curated", "dataset")
    rng = random.Random(7)
    words = _vocabulary(rng)
    _ingest(rng, words)
    sentences = list(_sentences(rng, words, sizes[-1]))
    with tempfile.TemporaryDirectory(prefix="tweetmill-bench-") as folder:
        files = Path(folder)
        pairs = _pairs(files / "pairs.jsonl", rng, words)
        runs = [_run(files, f"sentences{number}", sentences[:size], pairs) for number, size in enumerate((*sizes, sizes[-1]))]
    return Synthesis(runs)


def _vocabulary(rng: random.Random) -> list[str]:
    """Two thousand invented words, with lengths and letters such as English ones have."""
    heads = ["b", "c", "d", "f", "gr", "h", "l", "m", "p", "st", "t", "w", "sh", "br"]
    tails = ["a", "e", "i", "o", "u", "ea", "ou", "ing", "er"]
    found: dict[str, None] = {}
    while len(found) < 2_000:
        found["".join(rng.choice(heads) + rng.choice(tails) for _ in range(rng.choice((1, 2, 2, 3))))] = None
    return list(found)


def _sentence(rng: random.Random, words: list[str]) -> str:
    middle = rng.choices(words, k=rng.randint(2, 4))
    ends = ("isn't late", "will be here at 9", "can't see you", "are not going to the game", "was great for the people")
    return f"The {rng.choice(words)} {' '.join(middle)} of {rng.choice(words).title()} {rng.choice(ends)} {rng.choice(words)}."


def _sentences(rng: random.Random, words: list[str], number: int) -> Iterator[str]:
    earlier: list[str] = []
    for _ in range(number):
        if earlier and rng.random() < PLANTED:
            yield rng.choice(earlier).upper() + rng.choice(("", "!!"))
            continue
        earlier.append(_sentence(rng, words))
        yield earlier[-1]


def _mess(rng: random.Random, sentence: str) -> str:
    messy = sentence.replace("'", "") if rng.random() < 0.5 else sentence
    messy = messy.lower().rstrip(".") if rng.random() < 0.6 else messy
    messy = messy.replace("you", "u").replace("great", "gr8").replace("for", "4") if rng.random() < 0.3 else messy
    return f"@somebody {messy} #late" if rng.random() < 0.2 else messy


def _ingest(rng: random.Random, words: list[str]) -> None:
    from producers.sources.lines import Line
    from workers.ingest.tweets import copy_tweets

    tweets = (TweetRecord(id=str(number), text=_mess(rng, _sentence(rng, words)), source="bench") for number in range(TWEETS))
    copy_tweets((Line(number, tweet) for number, tweet in enumerate(tweets, start=1)), origin="bench")


def _pairs(file: Path, rng: random.Random, words: list[str]) -> Path:
    with file.open("w") as out:
        for number in range(PAIRS):
            sentence = _sentence(rng, words)
            out.write(json.dumps({"tweet_id": str(number), "clean": sentence, "summary": sentence}) + "\n")
    return file


def _run(folder: Path, name: str, sentences: list[str], pairs: Path) -> Run:
    from tasks import synthesis
    from workers.ingest.curated import import_collection

    file = folder / "sentences.txt"
    file.write_text("".join(f"{sentence}\n" for sentence in sentences))
    spec = SynthesisSpec.model_validate(
        {
            "dataset": name,
            "pairs": import_collection(pairs, "pairs"),
            "sentences": import_collection(file, "sentences"),
            "noise": {"copies": COPIES, "profile": "fitted"},
            "test_size": PAIRS // 3,
        }
    )
    job = synthesis.enqueue(spec, tweets=TWEETS).job
    told = _in_its_own_process(job)
    with transaction() as connection:
        found = connection.execute(text("SELECT state, result, error FROM job WHERE id = :job"), {"job": job}).one()
        if found.state != "done":
            raise CannotRun(f"the job is {found.state}: {(found.error or {}).get('message')}")
        counts = found.result["counts"]
    return Run(
        len(sentences),
        counts["train"] + counts["test"],
        counts["sentences_duplicate"],
        _phases(job, told["ended"]),
        told["before_mib"],
        told["peak_mib"],
        _exported(name, folder),
    )


def _in_its_own_process(job: UUID) -> Any:
    """Each job gets a process, whose peak of memory is its own."""
    command = [sys.executable, "-m", "benchmarks.synthesis", str(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"the job's process failed: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _phases(job: UUID, ended: float) -> dict[str, float]:
    """Seconds of the phases, by the times at which the job's log tells of them."""
    with transaction() as connection:
        events = connection.execute(text(_EVENTS), {"job": job}).all()
    at = {row.name: float(row.at) for row in events} | {"ended": ended}
    return {phase: at[end] - at[start] for phase, (start, end) in _PHASES.items()}


def _exported(name: str, folder: Path) -> str:
    from workers.catalog import datasets
    from workers.catalog.examples.export import write_dataset

    with database.session() as session:
        dataset = datasets.resolve(session, name)
        written = write_dataset(session, dataset.id, name, Form.MESSAGES, folder / name)
    return "+".join(each.sha256 for each in written)


def _work(job: str) -> None:
    """What a worker does with the job, and what it took."""
    from workers.app import app

    app.loader.import_default_modules()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    app.tasks["synthesis.synthesize"].apply(args=(job,), throw=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with transaction() as connection:
        # The event of a job that is done bears the time at which the transaction began that stored its rows.
        ended = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
    print(json.dumps({"before_mib": before / 1024, "peak_mib": peak / 1024, "ended": float(ended)}))


if __name__ == "__main__":
    _work(sys.argv[1])
