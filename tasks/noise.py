"""Noise: fit a profile to the ingested tweets, measure how real noised texts look, and apply a profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from schemas.payloads import NoiseFitSpec, NoiseGaugeSpec, Queue
from tasks.enqueue import Submitted, job_key, submit
from workers.app import app
from workers.jobs import attempt

FIT = "synthesis.noise_fit"
GAUGE = "synthesis.noise_gauge"


def enqueue_fit(spec: NoiseFitSpec, *, tweets: int) -> Submitted:
    """Enqueue the fit of a noise profile. `tweets` is how many are ingested: more of them make an equal request a new job."""
    from workers.noise import NOISE_VERSION

    return submit(FIT, Queue.SYNTHESIS, spec, job_key(FIT, spec, str(tweets), str(NOISE_VERSION)))


def enqueue_gauge(spec: NoiseGaugeSpec, *, tweets: int, pairs: int) -> Submitted:
    """Enqueue the measurement of how real noised texts look; `pairs` is how many are imported, `tweets` as in `enqueue_fit`."""
    from workers.noise import NOISE_VERSION

    return submit(GAUGE, Queue.SYNTHESIS, spec, job_key(GAUGE, spec, str(tweets), str(pairs), str(NOISE_VERSION)))


@app.task(name=FIT, bind=True)  # type: ignore[untyped-decorator]
def fit_noise(task: Any, job_id: str) -> None:
    """Fit the noise profile of job `job_id`."""
    from workers.noise import jobs

    attempt.run(job_id, task.request.hostname, NoiseFitSpec, jobs.fit, FIT)


@app.task(name=GAUGE, bind=True)  # type: ignore[untyped-decorator]
def gauge_noise(task: Any, job_id: str) -> None:
    """Measure noise as job `job_id` says."""
    from workers.noise import jobs

    attempt.run(job_id, task.request.hostname, NoiseGaugeSpec, jobs.measure_realism, GAUGE)


def noised(sentences: Iterable[str], document: str, name: str, seed: int, copies: int = 1) -> Iterator[dict[str, Any]]:
    """Yield clean sentences with the noise of a profile, one after the other. Runs in the caller: it needs neither server nor model.

    Args:
        sentences: clean texts; one that comes twice gets the same noise twice.
        document: the profile as JSON.
        name: the profile's file, for error messages.
        seed: the same one gives the same noise.
        copies: noisy versions of each.

    Raises:
        UserError: the document is no profile.
    """
    from workers.noise import stream

    return stream.noised(sentences, document, name, seed, copies)
