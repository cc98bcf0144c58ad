"""Twelve kills of the busy worker under 1,500 short jobs, as `python -m benchmarks kills` deals them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text

from benchmarks import kills
from tests.conftest import Servers


@pytest.fixture
def storm(servers: Servers, clean_database: Engine) -> Iterator[Callable[..., kills.Outcome]]:
    """Lets a storm pass, and leaves no table behind."""
    yield lambda way, jobs, hits: kills.strike(way, seed=1, jobs=jobs, kills=hits, folder=servers.home)
    with clean_database.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS effect"))


@pytest.mark.fault(26)
@pytest.mark.timeout(900)
def test_a_storm_of_kills_loses_no_short_job_and_doubles_none(storm, measured, thorough: bool):
    jobs, hits = (kills.JOBS, kills.KILLS) if thorough else (kills.QUICK_JOBS, kills.QUICK_KILLS)
    told = {}
    if thorough:
        plain = storm(kills.plain_celery(), jobs, hits)
        told = {"lost_by_plain_celery": plain.lost, "doubled_by_plain_celery": plain.rows_twice}
    kept = storm(kills.tweetmill(), jobs, hits)
    measured(jobs=jobs, kills=hits, lost=kept.lost, duplicated=kept.rows_twice, extra_starts=kept.begun_again, seconds=kept.seconds, **told)
    assert (kept.lost, kept.rows_twice, kept.processes_left) == (0, 0, 0)
