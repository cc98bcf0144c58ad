"""The checker of a storm finds each thing that must never be, and nothing in a storm that was survived."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.nemesis.checker import RULES, check
from tests.nemesis.checker_of_checkpoints import CHECKPOINT_RULES
from tests.nemesis.checker_of_processes import PROCESS_RULES
from tests.nemesis.record import Record

Row = dict[str, Any]


def job(key: str, **fields: Any) -> Row:
    usual = {"id": f"id-{key}", "kind": "test.work", "key": key, "state": "done", "parent": None, "remaining": None, "error": None}
    counts = {"attempt": 1, "failures": 0, "preemptions": 0, "max_failures": 30, "payload": {}, "result": None}
    return usual | counts | fields


def move(key: str, event: str, at: float, attempt: int = 1, detail: str | None = None) -> Row:
    return {"id": int(at * 1000), "job": f"id-{key}", "attempt": attempt, "event": event, "detail": detail, "at": at, "stamp": at}


def row(key: str, step: int, at: float, attempt: int = 1) -> Row:
    return {"job": f"id-{key}", "step": step, "attempt": attempt, "stamp": at}


def told(event: str, at: float = 0.0, **fields: Any) -> Row:
    return {"t": at, "wall": at, "event": event, **fields}


def rank(pid: int, run: str, worker: str = "w1#1", device: str = "0", role: str = "rank") -> list[Any]:
    return [pid, pid * 10, worker, role, run, device]


def sample(at: float, alive: list[list[Any]], mains: list[str], locks: dict[str, list[int]] | None = None) -> Row:
    return told("processes", at, alive=alive, locks=locks or {}, mains=mains)


EXPECTED = {
    "a": {"what": "work", "rows": 2, "ends": ["done"]},
    "poison": {"what": "work", "rows": 1, "ends": ["quarantined"]},
    "whole": {"what": "summaries", "tweets": 2, "ends": ["done"]},
    "train": {"what": "training", "steps": 100, "save_steps": 10, "ends": ["done"]},
}


def survived() -> Record:
    """A storm in which a job was taken over after its lease, another was poison, and a training was killed and went on."""
    history = [
        told("asked", batch=0, jobs=EXPECTED),
        told("committed", batch=0),
        told("leases", 11.0, held=[["id-a", 1, "w1@test", 14.0, None]]),
        told("leases", 42.0, held=[["id-train", 1, "w1@test", 45.0, 37]]),
        sample(41.0, [rank(1, "id-train/1"), rank(2, "id-train/1")], ["w1#1", "w2#1"], {"gpu-0": [1, 2]}),
        sample(52.0, [rank(3, "id-train/2", "w2#1"), rank(4, "id-train/2", "w2#1")], ["w2#1"], {"gpu-0": [3, 4]}),
        told("worker dismissed", 90.0, worker="w2#1", code=0),
    ]
    jobs = [
        job("a", attempt=2, failures=1),
        job("poison", state="quarantined", attempt=3, failures=3, max_failures=3),
        job("whole", remaining=0, attempt=0),
        job("shard", parent="id-whole"),
        job("train", kind="training.train", attempt=2, failures=1),
    ]
    moves = [
        *(move("a", "claimed", 10.0), move("a", "claimed", 15.0, 2), move("a", "done", 16.0, 2)),
        *(entry for n in (1, 2, 3) for entry in (move("poison", "claimed", 20.0 + n, n), move("poison", "failure", 20.5 + n, n))),
        move("poison", "quarantined", 24.0, 3),
        *(move("shard", "claimed", 30.0), move("shard", "done", 33.0), move("whole", "done", 33.0, 0)),
        *(move("train", "claimed", 40.0), move("train", "lease expired", 46.0, 1, "w1@test: now queued")),
        *(move("train", "claimed", 50.0, 2), move("train", "log", 51.0, 2, "resumed from step 30 of attempt 1")),
        move("train", "done", 60.0, 2),
    ]
    return Record(
        history=history,
        jobs=jobs,
        moves=moves,
        rows=[row("a", 0, 11.0), row("a", 1, 15.5, 2)],
        summaries=[{"tweet": name, "job": "id-shard", "attempt": 1, "stamp": 32.0} for name in ("t1", "t2")],
        selections=[{"job": "id-whole", "ordinal": place, "tweet": name} for place, name in enumerate(("t1", "t2"))],
        steps=[{"job": "id-train", "last": 100}],
        models=[{"job": "id-train", "name": "tuned"}],
        checkpoints=[{"job": "id-train", "attempt": 1, "step": 30}],
    )


def broken(record: Record) -> set[str]:
    """The names of the rules that were violated."""
    return {violation.rule for violation in check(record)}


def with_job(record: Record, key: str, **changes: Any) -> Record:
    return replace(record, jobs=[{**one, **changes} if one["key"] == key else one for one in record.jobs])


def with_history(record: Record, *events: Row) -> Record:
    return replace(record, history=[*record.history, *events])


def with_moves(record: Record, *moves: Row) -> Record:
    return replace(record, moves=sorted([*record.moves, *moves], key=lambda one: one["at"]))


def test_nothing_is_found_where_nothing_is_wrong():
    assert check(survived()) == []


def test_every_rule_is_planted_below():
    planted = {name.partition("__")[0] for name in globals()}
    assert {f"test_{rule}" for rule in (*RULES, *PROCESS_RULES, *CHECKPOINT_RULES)} <= planted


# Jobs


def test_nothing_is_lost__a_job_is_missing():
    record = survived()
    assert broken(replace(record, jobs=[one for one in record.jobs if one["key"] != "poison"])) == {"nothing_is_lost"}


def test_nothing_is_lost__a_job_never_ends():
    assert broken(with_job(survived(), "a", state="queued", attempt=1)) >= {"nothing_is_lost"}


def test_nothing_is_lost__not_even_in_a_batch_that_was_begun_twice():
    again = told("asked", batch=0, jobs={"b": EXPECTED["a"]})
    assert broken(with_history(survived(), again)) == {"nothing_is_lost"}


def test_a_batch_that_its_producer_never_finished_may_be_missing():
    assert broken(with_history(survived(), told("asked", batch=1, jobs={"b": EXPECTED["a"]}))) == set()


def test_nothing_is_made_up__a_job_that_nobody_asked_for():
    record = survived()
    extra = replace(record, jobs=[*record.jobs, job("forged")], moves=[*record.moves, move("forged", "claimed", 70.0)])
    assert broken(extra) == {"nothing_is_made_up"}


def test_jobs_end_as_they_should__poison_that_is_done():
    assert broken(with_job(survived(), "poison", state="done", attempt=4)) >= {"jobs_end_as_they_should"}


def test_jobs_end_as_they_should__a_good_job_in_quarantine():
    assert broken(with_job(survived(), "a", state="quarantined", failures=30)) >= {"jobs_end_as_they_should"}


def test_a_job_that_somebody_cancelled_may_be_cancelled():
    record = survived()
    cancelled = replace(
        with_job(record, "a", state="cancelled"), moves=[*record.moves[:2], move("a", "cancelled", 16.0, 2), *record.moves[3:]]
    )
    assert broken(cancelled) == {"jobs_end_as_they_should"}
    assert broken(with_history(cancelled, told("cancelling", key="a"))) == set()


def test_parents_agree_with_their_shards__a_wrong_count():
    assert broken(with_job(survived(), "whole", remaining=1)) == {"parents_agree_with_their_shards"}


def test_parents_agree_with_their_shards__done_too_early():
    assert "parents_agree_with_their_shards" in broken(with_job(survived(), "shard", state="failed"))


def test_attempts_are_bounded__an_attempt_that_nothing_paid_for():
    record = with_job(survived(), "a", attempt=3)
    assert broken(with_moves(record, move("a", "claimed", 15.9, 3))) >= {"attempts_are_bounded"}


def test_attempts_are_bounded__more_failures_than_permitted():
    assert broken(with_job(survived(), "poison", attempt=4, failures=4)) >= {"attempts_are_bounded"}


def test_attempts_are_bounded__quarantined_too_early():
    assert broken(with_job(survived(), "poison", failures=2)) == {"attempts_are_bounded"}


# Claims


def test_attempts_are_claimed_once_and_in_order__one_attempt_twice():
    assert broken(with_moves(survived(), move("a", "claimed", 15.1, 2))) == {"attempts_are_claimed_once_and_in_order"}


def test_an_end_is_the_end__a_job_is_claimed_after_it_was_done():
    record = with_job(survived(), "a", attempt=3, failures=2)
    assert broken(with_moves(record, move("a", "claimed", 99.0, 3))) == {"an_end_is_the_end"}


def test_an_end_is_the_end__also_when_the_reaper_ended_it():
    record = survived()
    moves = [move("a", "lease expired", 14.5, 1, "w1@test: now cancelled"), *record.moves[1:]]
    assert "an_end_is_the_end" in broken(replace(record, moves=[record.moves[0], *moves]))


def test_a_lease_has_one_holder__the_next_attempt_came_too_early():
    prolonged = told("leases", 13.0, held=[["id-a", 1, "w1@test", 17.0, None]])
    assert broken(with_history(survived(), prolonged)) == {"a_lease_has_one_holder"}


# Results


def test_work_leaves_its_rows_once__a_row_is_missing():
    record = survived()
    assert broken(replace(record, rows=record.rows[:1])) == {"work_leaves_its_rows_once"}


def test_work_leaves_its_rows_once__a_row_too_many():
    record = survived()
    assert broken(replace(record, rows=[*record.rows, row("a", 2, 15.6, 2)])) == {"work_leaves_its_rows_once"}


def test_tweets_are_summarised_once__a_tweet_was_left_out():
    record = survived()
    assert broken(replace(record, summaries=record.summaries[:1])) == {"tweets_are_summarised_once"}


def test_tweets_are_summarised_once__a_tweet_was_done_twice():
    record = survived()
    assert broken(replace(record, summaries=[*record.summaries, record.summaries[0]])) == {"tweets_are_summarised_once"}


def test_late_writers_are_fenced__a_zombie_wrote():
    record = survived()
    assert broken(replace(record, rows=[row("a", 0, 15.2), row("a", 1, 15.5, 2)])) == {"late_writers_are_fenced"}


def test_late_writers_are_fenced__a_row_came_after_the_end():
    record = survived()
    assert broken(replace(record, rows=[row("a", 0, 11.0), row("a", 1, 17.0, 2)])) == {"late_writers_are_fenced"}


def test_late_writers_are_fenced__a_row_of_an_attempt_that_never_was():
    record = survived()
    assert broken(replace(record, rows=[row("a", 0, 11.0), row("a", 1, 15.5, 7)])) == {"late_writers_are_fenced"}


def test_done_trainings_left_a_model__there_are_two():
    record = survived()
    assert broken(replace(record, models=[*record.models, {"job": "id-train", "name": "again"}])) == {"done_trainings_left_a_model"}


def test_done_trainings_left_a_model__it_stopped_half_way():
    assert broken(replace(survived(), steps=[{"job": "id-train", "last": 60}])) == {"done_trainings_left_a_model"}


def test_the_harness_worked__a_fault_could_not_be_healed():
    failure = told("harness failed", what="healing kill_redis", error="TimeoutError()")
    assert broken(with_history(survived(), failure)) == {"the_harness_worked"}


# Processes


def test_no_process_outlives_its_worker__a_rank_that_stays():
    orphan = [sample(60.0 + second, [rank(9, "id-other/1", "w3#1", "1")], ["w1#1"]) for second in range(12)]
    assert broken(with_history(survived(), *orphan)) == {"no_process_outlives_its_worker"}


def test_a_rank_that_goes_within_ten_seconds_is_no_orphan():
    going = [sample(60.0 + second, [rank(9, "id-other/1", "w3#1", "1")], ["w1#1"]) for second in range(9)]
    assert broken(with_history(survived(), *going)) == set()


def test_nothing_is_left_behind__a_pool_child():
    assert broken(replace(survived(), left_behind=("child 77 of w1#3",))) == {"nothing_is_left_behind"}


def test_workers_leave_when_asked__one_had_to_be_killed():
    assert broken(with_history(survived(), told("worker dismissed", worker="w3#2", code=None))) == {"workers_leave_when_asked"}


def test_a_device_has_one_training__two_jobs_at_once():
    both = sample(70.0, [rank(1, "id-train/1"), rank(8, "id-other/1", "w2#1")], ["w1#1", "w2#1"])
    assert broken(with_history(survived(), both)) == {"a_device_has_one_training"}


def test_a_job_has_one_group_of_ranks__two_attempts_at_once():
    both = sample(70.0, [rank(1, "id-train/1"), rank(8, "id-train/2", "w3#1", "1")], ["w1#1", "w3#1"])
    assert broken(with_history(survived(), both)) == {"a_job_has_one_group_of_ranks"}


def test_a_lock_has_one_training__two_share_it():
    alive = [rank(1, "id-train/1"), rank(8, "id-other/1", "w3#1", "1")]
    assert broken(with_history(survived(), sample(70.0, alive, ["w1#1", "w3#1"], {"gpu-0": [1, 8]}))) == {"a_lock_has_one_training"}


# Checkpoints


def test_broken_checkpoints_are_not_loaded__somebody_did():
    struck = told("struck", 49.0, kind="break_checkpoint", job="id-train", step=30, attempt=1)
    assert broken(with_history(survived(), struck)) == {"broken_checkpoints_are_not_loaded"}


def test_another_checkpoint_of_the_same_step_may_be_loaded():
    struck = told("struck", 49.0, kind="break_checkpoint", job="id-train", step=30, attempt=7)
    assert broken(with_history(survived(), struck)) == set()


def test_a_resume_loses_at_most_an_interval__it_lost_two():
    further = told("leases", 43.0, held=[["id-train", 1, "w1@test", 46.0, 55]])
    assert broken(with_history(survived(), further)) == {"a_resume_loses_at_most_an_interval"}


def test_more_may_be_lost_while_the_disk_is_full():
    further = told("leases", 43.0, held=[["id-train", 1, "w1@test", 46.0, 55]])
    full = (told("struck", 42.5, kind="fill_disk"), told("healed", 44.0, kind="fill_disk"))
    assert broken(with_history(survived(), further, *full)) == set()
