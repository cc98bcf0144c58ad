"""Training: fine-tune a model on a dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from schemas.payloads import Queue, Stage
from schemas.training import GangMember, TrainingSpec
from tasks.enqueue import Submitted, job_key, submit
from workers.app import app
from workers.errors import UserError
from workers.jobs import attempt
from workers.jobs.members import MEMBER

TRAIN = "training.train"


def enqueue(spec: TrainingSpec, *, dataset_fingerprint: str) -> Submitted:
    """Enqueue a training, and with more than one node its members. The same spec on the same examples and prompts is one job."""
    from workers.text.instructions import PROMPT_VERSION

    members = [GangMember(node=node, spec=spec) for node in range(1, spec.nodes)]
    return submit(TRAIN, Queue.TRAINING, spec, job_key(TRAIN, spec, dataset_fingerprint, PROMPT_VERSION), members=(MEMBER, members))


def as_read(base: str, stage: Stage, tweet: str, target: str) -> dict[str, Any]:
    """Return one row as a training sends it to the model: `messages` and `completion`, and the text that the base's template makes of them.

    Runs in the caller, and fetches nothing: where the base's folder is not on this machine, or what reads it is not installed, `missing`
    says so in place of the text.
    """
    from workers.catalog.models import locate_base
    from workers.text import prompts

    prompt = prompts.tuned(tweet, stage)
    sent: dict[str, Any] = {"messages": [dataclasses.asdict(message) for message in prompt], "completion": target}
    folder = Path(locate_base(base))
    if not (folder / "config.json").is_file():
        return sent | {"missing": "the base model's folder is not on this machine"}
    try:
        from workers.base_models.training_text import training_text

        return sent | dataclasses.asdict(training_text(folder, prompt, target))
    except ImportError:
        return sent | {"missing": "transformers is not installed here: the extra `gpu` brings it"}
    except UserError as error:
        return sent | {"missing": str(error)}


@app.task(name=TRAIN, bind=True)  # type: ignore[untyped-decorator]
def train(task: Any, job_id: str) -> None:
    """Fine-tune as job `job_id` says."""
    from workers.inference import engines
    from workers.training import job as run

    engines.release()  # what this worker kept warm must not share memory with the ranks
    attempt.run(job_id, task.request.hostname, TrainingSpec, run.train, TRAIN)


@app.task(name=MEMBER, bind=True)  # type: ignore[untyped-decorator]
def member(task: Any, job_id: str) -> None:
    """Train together with the leader of member `job_id`."""
    from workers.training import member as run

    attempt.run(job_id, task.request.hostname, GangMember, run.serve, MEMBER)
