"""The verbs of jobs: what a person sees and may do."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers import submitting
from producers.cli import main
from producers.render.progress import progress_of, watch
from producers.render.quantities import duration
from schemas.payloads import ShardSpec
from schemas.states import JobState
from tasks.enqueue import Submitted
from tests.support import jobs
from tests.support.jobs import add, add_parent, claimed, finish
from tests.support.worker_process import wait_for
from workers import database
from workers.errors import NotFound
from workers.jobs import fanout, ledger, maintenance, queries

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


@pytest.fixture
def run(engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command; gives exit code, standard output and standard error."""

    def run_one(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_one


def fail(engine: Engine, job: uuid.UUID, message: str = "it broke") -> None:
    held = claimed(engine, job)
    with engine.begin() as connection:
        ledger.finish(connection, held, JobState.FAILED, error={"class": "UserError", "message": message})


# jobs


def test_without_jobs_the_list_says_how_to_begin(run):
    code, _, err = run("jobs")
    assert code == 0
    assert "No job yet" in err
    assert run("jobs", "--json")[1] == "[]\n"


def test_the_list_shows_the_newest_first_and_no_shards(engine, run):
    old = add(engine, kind="training.train")
    parent, shards = add_parent(engine, 2)
    listed = json.loads(run("jobs", "--json")[1])
    assert [row["id"] for row in listed] == [str(parent), str(old)]
    everything = json.loads(run("jobs", "--all", "--json")[1])
    assert {row["id"] for row in everything} == {str(job) for job in (old, parent, *shards)}


def test_the_list_is_narrowed_by_state_kind_and_limit(engine, run):
    train = add(engine, kind="training.train")
    done = add(engine, kind="evaluation.evaluate")
    finish(engine, claimed(engine, done))
    assert [row["id"] for row in json.loads(run("jobs", "--state", "done", "--json")[1])] == [str(done)]
    assert [row["id"] for row in json.loads(run("jobs", "--kind", "training", "--json")[1])] == [str(train)]
    assert len(json.loads(run("jobs", "-n", "1", "--json")[1])) == 1


def test_the_table_shows_why_a_job_failed_even_with_brackets_in_it(engine, run):
    job = add(engine, kind="training.train")
    fail(engine, job, "no column [bold]text[/bold]")
    code, out, _ = run("jobs")
    assert code == 0
    assert str(job)[:8] in out
    assert "failed" in out
    assert "[bold]" in out


def test_an_unknown_state_is_bad_usage(run):
    code, _, err = run("jobs", "--state", "lost")
    assert code == 2
    assert "quarantined" in err


# job


def test_one_job_is_shown_with_its_metrics_rejected_rows_and_events(engine, run):
    job = add(engine, kind="training.train")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO metric VALUES (:job, 1, 'loss', 2.5)"), {"job": job})
        connection.execute(
            text("INSERT INTO rejected_row (job, origin, row_key, field, reason) VALUES (:job, 'pairs.jsonl', '7', 'summary', 'is empty')"),
            {"job": job},
        )
    shown = json.loads(run("job", str(job)[:8], "--json")[1])
    assert shown["metrics"] == [{"step": 1, "name": "loss", "value": 2.5}]
    assert (shown["rejected"], shown["rejected_rows"][0]["reason"]) == (1, "is empty")
    assert [event["event"] for event in shown["events"]] == ["enqueued"]
    assert "pairs.jsonl 7, summary: is empty" in run("job", "latest")[1]


def test_a_job_that_was_given_back_says_what_it_waits_for(engine, run):
    job = add(engine)
    with engine.begin() as connection:
        ledger.release(connection, claimed(engine, job), "GPU 0 is held by process 7, job other", delay=5)
    waits = [line for line in run("job", str(job))[1].splitlines() if line.startswith("waits")]
    assert "GPU 0 is held by process 7, job other (tried again from" in waits[0]
    assert "waits, given back 1 time" in run("jobs")[1]
    jobs.alter(engine, job, "run_after = now()")
    claimed(engine, job)
    assert "waits" not in run("job", str(job))[1], "it runs"


def test_a_parent_shows_how_its_shards_stand(engine, run):
    parent = add(engine, kind="summarization.summarize", state=JobState.RUNNING, remaining=2)
    first = add(engine, parent=parent, payload=ShardSpec(model_id=1, first=0, last=100))
    add(engine, parent=parent, payload=ShardSpec(model_id=1, first=100, last=150))
    finish(engine, claimed(engine, first))
    shown = json.loads(run("job", "latest", "--json")[1])
    assert (shown["shards"], shown["rows"], shown["rows_done"]) == ({"done": 1, "queued": 1}, 150, 100)
    assert "100 of 150" in run("job", "latest")[1]


@pytest.mark.parametrize("verb", ["job", "logs", "cancel", "retry"])
def test_a_job_that_is_not_there_is_an_error_that_says_what_to_do(run, verb):
    code, out, err = run(verb, "ffffffff")
    assert (code, out) == (1, "")
    assert "`tweetmill jobs` lists them" in err.replace("\n", " ")


# logs


def test_the_log_of_a_parent_holds_its_shards(engine, run):
    parent, (shard,) = add_parent(engine, 1)
    held = claimed(engine, shard)
    with engine.begin() as connection:
        ledger.log(connection, held, "loaded the model")
    code, out, _ = run("logs", str(parent))
    assert code == 0
    assert f"{str(shard)[:8]} attempt 1: log: loaded the model" in out
    lines = [json.loads(line) for line in run("logs", str(parent), "--json")[1].splitlines()]
    assert [line["event"] for line in lines if line["job"] == str(shard)] == ["enqueued", "claimed", "log"]


def test_following_a_log_ends_with_the_job_and_misses_nothing(engine, run):
    job = add(engine)
    held = claimed(engine, job)
    ending = threading.Timer(1.0, finish, (engine, held))
    ending.start()
    code, out, _ = run("logs", str(job), "-f")
    ending.join()
    assert code == 0
    assert [line.rpartition("attempt ")[2] for line in out.splitlines()] == ["0: enqueued", "1: claimed: worker@here", "1: done"]


# cancel and retry


def test_cancel_says_what_it_stopped(engine, run):
    parent, shards = add_parent(engine, 3)
    code, _, err = run("cancel", str(parent))
    assert code == 0
    assert "with 3 shards" in err
    assert {jobs.state(engine, job) for job in (parent, *shards)} == {"cancelled"}
    code, _, err = run("cancel", str(parent))
    assert code == 1
    assert "ended already" in err


def test_retry_takes_one_job_or_all_that_failed_but_not_both(engine, run):
    failed, other = add(engine), add(engine)
    fail(engine, failed)
    fail(engine, other)
    assert run("retry")[0] == 2
    assert run("retry", str(failed), "--failed")[0] == 2
    assert "Queued 1 job again" in run("retry", str(failed))[2]
    assert "Queued 1 job again" in run("retry", "--failed")[2]
    assert {jobs.state(engine, failed), jobs.state(engine, other)} == {"queued"}


def test_retrying_what_runs_is_refused(engine, run):
    job = add(engine)
    claimed(engine, job)
    code, _, err = run("retry", str(job))
    assert code == 1
    assert "nothing to retry" in err


def test_quarantined_jobs_come_back_only_when_asked_for(engine, run):
    job = add(engine)
    jobs.alter(engine, job, "max_failures = 1")
    held = claimed(engine, job)
    with engine.begin() as connection:
        ledger.fail(connection, held, {"message": "it broke"})
    assert "Queued 0 jobs" in run("retry", "--failed")[2]
    assert jobs.state(engine, job) == "quarantined"
    assert "Queued 1 job again" in run("retry", "--quarantined")[2]
    again = jobs.row(engine, job)
    assert (again.state, again.failures, again.error) == ("queued", 0, None), "it has all its tries again"
    finish(engine, claimed(engine, job))
    assert run("jobs")[2] == ""


def quarantine(engine: Engine, job: uuid.UUID, error: dict[str, Any]) -> None:
    jobs.alter(engine, job, "max_failures = failures + 1")
    held = claimed(engine, job)
    with engine.begin() as connection:
        ledger.fail(connection, held, error)


def test_a_quarantined_job_says_what_happened_where_and_what_its_log_said_last(engine, run):
    job = add(engine)
    told = {
        "class": "RanksFailed",
        "message": "rank 1 ended with 1",
        "worker": "gpu0@north",
        "host": "north.example",
        "log_tail": "loss is nan",
    }
    quarantine(engine, job, told)
    page = run("job", str(job))[1]
    for said in ("quarantined", "RanksFailed: rank 1 ended with 1", "gpu0@north, host north.example", "loss is nan"):
        assert said in page
    assert f"tweetmill retry {str(job)[:8]}" in page
    assert json.loads(run("job", str(job), "--json")[1])["error"] == told


def test_a_job_whose_worker_died_says_which_and_keeps_what_its_log_said_before(engine, run):
    job = add(engine)
    jobs.alter(engine, job, "max_failures = 2")
    held = claimed(engine, job, "gpu0@north")
    with engine.begin() as connection:
        ledger.fail(
            connection, held, {"class": "RanksFailed", "message": "out of memory", "log_tail": "tried to allocate 20 GiB"}, backoff=0
        )
    claimed(engine, job, "gpu1@south")
    jobs.expire(engine, job)
    with engine.begin() as connection:
        maintenance.reap(connection)
    page = run("job", str(job))[1]
    for said in ("quarantined", "worker gpu1@south stopped renewing its lease", "gpu1@south, host south", "tried to allocate 20 GiB"):
        assert said in page


def test_the_list_says_that_jobs_are_quarantined_and_what_to_do(engine, run):
    parent, (shard, _) = add_parent(engine, 2)
    quarantine(engine, shard, {"message": "it broke"})
    said = " ".join(run("jobs")[2].split())
    assert "1 quarantined" in said
    assert "tweetmill retry --quarantined" in said
    listed = json.loads(run("jobs", "--all", "--state", "quarantined", "--json")[1])
    assert [row["id"] for row in listed] == [str(shard)]
    run("retry", "--quarantined")
    assert jobs.state(engine, shard) == "queued"
    assert jobs.state(engine, parent) == "running"
    assert "quarantined" not in run("jobs")[2]


# Watching


def test_watching_returns_the_final_job_and_writes_plain_lines_where_there_is_no_terminal(engine, capsys):
    held = claimed(engine, add(engine, kind="training.train"))
    ending = threading.Timer(0.8, finish, (engine, held))
    ending.start()
    ended = watch(held.job)
    ending.join()
    assert ended.state is JobState.DONE
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"train {str(held.job)[:8]} running", f"train {str(held.job)[:8]} done"]


def test_watching_a_job_that_is_not_there_says_so(engine):
    with pytest.raises(NotFound):
        watch(uuid.uuid4())


def test_ctrl_c_stops_the_watching_and_not_the_job(engine, servers):
    held = claimed(engine, add(engine, kind="training.train"))
    command = f"lambda: progress.watch(uuid.UUID('{held.job}'))"
    # A shell that runs the tests in the background has its children ignore Ctrl-C: this one must not.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heeding}; import sys, uuid; from producers.render import exit_codes, progress; sys.exit(exit_codes.exit_code_of({command}))"
    watching = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert watching.stderr is not None
    assert "running" in watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=20) == 130
    said = " ".join(watching.stderr.read().split())
    assert f"Stopped watching; job {str(held.job)[:8]} goes on" in said
    assert jobs.state(engine, held.job) == "running"


def seen(engine: Engine, job: uuid.UUID) -> str:
    with database.session(engine) as session:
        return progress_of(queries.job(session, job), queries.shards(session, job)).line


def show(engine: Engine, held: ledger.Claim, **progress: Any) -> None:
    with engine.begin() as connection:
        ledger.renew(connection, held, progress)


def test_a_training_is_seen_by_its_steps_loss_and_time_left(engine):
    held = claimed(engine, add(engine, kind="training.train"))
    show(engine, held, total_steps=200)
    assert seen(engine, held.job) == "0/200 · loading"
    show(engine, held, total_steps=200, step=50, loss=1.2345, tokens_per_second=1234.5, eta_seconds=200.0)
    assert seen(engine, held.job) == "50/200 · loss 1.23 · 1,234 tok/s · 3 m 20 s"


def test_a_training_that_loads_is_seen_by_what_its_gpus_do(engine):
    held = claimed(engine, add(engine, kind="training.train"))
    show(engine, held, gpu_utilization=0.0, gpu_memory_bytes=552_599_552, gpu_watts=118.18)
    assert seen(engine, held.job) == "loading · 0 % in use, 527 MiB, 118 W"


def test_shards_are_seen_by_their_rows_and_busy_workers(engine):
    parent = add(engine, state=JobState.RUNNING, remaining=3)
    shards = [add(engine, parent=parent, payload=ShardSpec(model_id=1, first=first, last=first + 100)) for first in (0, 100, 200)]
    finish(engine, claimed(engine, shards[0]))
    show(engine, claimed(engine, shards[1], "a@here"), done=32, total=100)
    assert seen(engine, parent) == "132/300 rows · 1/3 shards · 1 worker busy"


def test_a_teacher_is_seen_by_its_tweets_cost_and_time_left(engine):
    held = claimed(engine, add(engine, kind="synthesis.synthesize"))
    asked = {"phase": "teacher", "asked": 50, "cached": 10, "of": 200, "tokens": 12345, "usd": 0.25, "usd_projected": 0.95}
    show(engine, held, **asked, seconds_left=200.0, pairs=40)
    said = seen(engine, held.job)
    assert said == "60/200 tweets asked · 10 known before · 12,345 tokens · 0.25 of about 0.95 USD · 3 m 20 s left"
    show(engine, held, **{**asked, "phase": "taught"}, seconds_left=0, rows=1000)
    assert seen(engine, held.job) == "60/200 tweets asked · 10 known before · 12,345 tokens · 0.25 USD · 1,000 rows made"


def test_other_jobs_are_seen_by_their_phase(engine):
    job = add(engine, kind="evaluation.evaluate")
    assert seen(engine, job) == "waits for a worker"
    show(engine, claimed(engine, job), system="lead", rows=100)
    assert seen(engine, job) == "system lead · rows 100"


@pytest.mark.parametrize(("seconds", "said"), [(None, ""), (4.4, "4 s"), (59.6, "1 m 0 s"), (200, "3 m 20 s"), (7500, "2 h 5 m")])
def test_times_are_said_as_people_say_them(seconds, said):
    assert duration(seconds) == said


def test_watching_survives_a_terminal_and_draws_curves_in_a_large_one(engine):
    import os
    import pty

    held = claimed(engine, add(engine, kind="training.train"))
    show(engine, held, total_steps=10, step=5, loss=2.0, tokens_per_second=10.0, eta_seconds=5.0)
    with engine.begin() as connection:
        numbers = "INSERT INTO metric (job, step, name, value) VALUES (:job, 5, 'loss', 2.0), (:job, 5, 'eval_loss', 2.5)"
        connection.execute(text(numbers), {"job": held.job})
    main_end, its_end = pty.openpty()
    code = f"import sys, uuid; from producers.render.progress import watch; print(watch(uuid.UUID('{held.job}')).state.value)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=its_end, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "160", "LINES": "40"}
    )
    os.close(its_end)
    shown = b""

    def read() -> bool:
        nonlocal shown
        shown += os.read(main_end, 65536)
        return all(part.encode() in shown for part in ("5/10 · loss 2", "loss over steps, now 2.000", "eval_loss 2.500"))

    assert wait_for(read, 20)
    finish(engine, held)
    drain = threading.Thread(target=lambda: _exhaust(main_end))
    drain.start()
    assert process.communicate(timeout=20)[0] == "done\n"
    drain.join()


def _exhaust(end: int) -> None:
    import os

    try:
        while os.read(end, 65536):
            pass
    except OSError:
        os.close(end)


# asking once more


@pytest.mark.parametrize(("ended", "told"), [("failed", "failed"), ("cancelled", "was cancelled"), ("quarantined", "failed too often")])
def test_asking_once_more_for_what_ended_without_a_result_queues_it_again(engine, capsys, ended, told):
    job = add(engine)
    jobs.alter(engine, job, f"state = '{ended}', finished_at = now()")

    assert submitting.take_up(Submitted(job=job, new=False)) == ended

    assert jobs.state(engine, job) == "queued"
    assert f"The same was asked before and {told}: job {str(job)[:8]} is queued again." in capsys.readouterr().err


def test_asking_once_more_for_what_is_done_or_under_way_does_nothing_twice(engine, capsys):
    for state in ("queued", "running", "done"):
        job = add(engine)
        jobs.alter(engine, job, f"state = '{state}'")

        assert submitting.take_up(Submitted(job=job, new=False)) == state

        assert jobs.state(engine, job) == state
        assert f"job {str(job)[:8]} stands for both" in capsys.readouterr().err


def test_asking_once_more_for_a_cancelled_family_queues_its_shards_again(engine):
    parent, shards = add_parent(engine, 2)
    with engine.begin() as connection:
        fanout.cancel(connection, parent)

    submitting.take_up(Submitted(job=parent, new=False))

    assert jobs.state(engine, parent) == "running"
    assert [jobs.state(engine, shard) for shard in shards] == ["queued", "queued"]
