"""A job moves only where the states allow."""

from __future__ import annotations

from schemas.states import FINAL_STATES, LEGAL_MOVES, PARENT_MOVES, JobState, sources_of


def test_every_state_has_its_moves_written_down():
    assert set(LEGAL_MOVES) == set(JobState)


def test_a_done_job_stays_done():
    assert LEGAL_MOVES[JobState.DONE] == frozenset()


def test_only_a_running_job_may_end_as_done_failed_or_quarantined():
    for ending in (JobState.DONE, JobState.FAILED, JobState.QUARANTINED):
        assert sources_of(ending) == ("running",)


def test_a_waiting_job_and_a_running_one_may_be_cancelled():
    assert sources_of(JobState.CANCELLED) == ("queued", "running")


def test_a_job_runs_only_from_the_queue_so_that_every_try_is_claimed():
    assert sources_of(JobState.RUNNING) == ("queued",)


def test_every_unlucky_end_can_be_retried_by_way_of_the_queue():
    for ending in FINAL_STATES - {JobState.DONE}:
        assert LEGAL_MOVES[ending] == {JobState.QUEUED}


def test_a_parent_runs_until_its_shards_have_ended_and_is_reopened_by_a_retry():
    assert sources_of(JobState.RUNNING, PARENT_MOVES) == ("cancelled", "failed")
    assert sources_of(JobState.DONE, PARENT_MOVES) == ("running",)
    assert JobState.QUEUED not in PARENT_MOVES, "it has no work of its own"
