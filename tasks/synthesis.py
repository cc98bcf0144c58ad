"""Synthesis: build a dataset, learn a noise profile, gauge noise; and the one craft that needs no worker, applying a profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import text

from schemas.payloads import NoiseFitSpec, NoiseGaugeSpec, Queue
from schemas.synthesis import SynthesisSpec
from tasks.enqueue import Submitted, fingerprint, submit
from workers.app import app
from workers.database import transaction
from workers.errors import UserError
from workers.jobs import attempt

SYNTHESIZE = "synthesis.synthesize"
FIT = "synthesis.noise_fit"
GAUGE = "synthesis.noise_gauge"

# The dataset's fingerprint where it is no longer what the job of this key made.
_OVERWRITTEN = """
SELECT dataset.fingerprint FROM job JOIN dataset ON dataset.name = :name
WHERE job.idempotency_key = :key AND job.state = 'done' AND job.result->>'fingerprint' <> dataset.fingerprint
"""


# Whether the job of this key ended though its teacher had no answer to some tweets, or is to be asked again.
_LEFT_OPEN = """
SELECT true FROM job WHERE idempotency_key = :key AND state = 'done'
AND ((result->'teacher'->>'unanswered')::int > 0 OR payload->'teacher'->>'ask_again' IS NOT NULL)
"""


def enqueue(spec: SynthesisSpec, *, tweets: int) -> Submitted:
    """Ask for a dataset. `tweets` is how many are ingested: more of them make the same recipe a new job.

    So does another recipe that was built under the same name in between, and a teacher that left tweets without an answer: asking
    again asks about these.
    """
    key = fingerprint(SYNTHESIZE, spec, str(tweets))
    return submit(SYNTHESIZE, Queue.SYNTHESIS, spec, overwritten(_again(key) if spec.teacher else key, spec.dataset))


def _again(key: str) -> str:
    """The key, or a new one for as long as the job of it left something open."""
    again, number = key, 0
    with transaction() as connection:
        while connection.execute(text(_LEFT_OPEN), {"key": again}).scalar():
            number += 1
            again = f"{key}/again{number}"
    return again


def overwritten(key: str, name: str) -> str:
    """The key of a job that builds the dataset `name`: another one if the name was given to other examples since the job was done."""
    with transaction() as connection:
        other = connection.execute(text(_OVERWRITTEN), {"key": key, "name": name}).scalar()
    return f"{key}/{other}" if other else key


def previewed(spec: SynthesisSpec, number: int) -> dict[str, Any]:
    """What a recipe would give: here and now, since it stores nothing but a teacher's answers.

    Args:
        spec: the recipe, its files brought in.
        number: examples of each origin, and tweets to ask a teacher about.

    Raises:
        UserError: the recipe can't be built, or needs what is not installed here; says which extra brings it.
    """
    from workers.synthesis.preview.recipe import preview

    return preview(spec, number)


def check(spec: SynthesisSpec) -> list[str]:
    """What is known of a recipe before a job is queued; returns what is no obstacle but should be told.

    Raises:
        UserError: its sources can't give what it asks for; names all of it.
    """
    from workers.synthesis import preflight

    with transaction() as connection:
        _, reasons, notes = preflight.checked(connection, spec)
    if reasons:
        raise UserError(preflight.refusal(spec.dataset, reasons))
    return notes


@app.task(name=SYNTHESIZE, bind=True)  # type: ignore[untyped-decorator]
def synthesize(task: Any, job_id: str) -> None:
    """Build the dataset of job `job_id`."""
    from workers.synthesis import job as dataset

    attempt.run(job_id, task.request.hostname, SynthesisSpec, dataset.synthesize, SYNTHESIZE)


def enqueue_fit(spec: NoiseFitSpec, *, tweets: int) -> Submitted:
    """Ask for a noise profile; `tweets` as in `enqueue`."""
    from workers.synthesis import NOISE_VERSION

    return submit(FIT, Queue.SYNTHESIS, spec, fingerprint(FIT, spec, str(tweets), str(NOISE_VERSION)))


def enqueue_gauge(spec: NoiseGaugeSpec, *, tweets: int, pairs: int) -> Submitted:
    """Ask how real the noises look; `pairs` is how many were brought in, `tweets` as in `enqueue`."""
    from workers.synthesis import NOISE_VERSION

    return submit(GAUGE, Queue.SYNTHESIS, spec, fingerprint(GAUGE, spec, str(tweets), str(pairs), str(NOISE_VERSION)))


@app.task(name=FIT, bind=True)  # type: ignore[untyped-decorator]
def fit_noise(task: Any, job_id: str) -> None:
    """Learn the profile of job `job_id`."""
    from workers.noise import jobs as realism

    attempt.run(job_id, task.request.hostname, NoiseFitSpec, realism.fit, FIT)


@app.task(name=GAUGE, bind=True)  # type: ignore[untyped-decorator]
def gauge_noise(task: Any, job_id: str) -> None:
    """Gauge noise as job `job_id` says."""
    from workers.noise import jobs as realism

    attempt.run(job_id, task.request.hostname, NoiseGaugeSpec, realism.gauge, GAUGE)


def noised(sentences: Iterable[str], document: str, name: str, seed: int, copies: int = 1) -> Iterator[dict[str, Any]]:
    """Clean sentences in the style of a profile, one after the other: here and now, since it needs neither a server nor a model.

    Args:
        sentences: clean texts; one that comes twice gets the same noise twice.
        document: the profile as JSON.
        name: the profile's file, for complaints.
        seed: the same one gives the same noise.
        copies: noisy versions of each.

    Raises:
        UserError: the document is no profile.
    """
    from workers.noise import stream as applying

    return applying.noised(sentences, document, name, seed, copies)
